package opa

import (
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"

	"github.com/atom-fabric/fabric/domain/policy"
)

// A jump is where a step leads: on, out of the function, or out of so many
// blocks, where 0 is the one that it stands in. A step that is undefined leaves
// its block.
type jump int

const (
	onward   jump = -1
	returned jump = -2
	failed   jump = -3
)

// A frame is a call in progress.
type frame struct {
	*execution
	locals []*ast.Term
	answer *ast.Term
}

// A step does one thing.
type step func(*frame) jump

type block []step

// run takes the steps until one leaves the block.
func (b block) run(f *frame) jump {
	for _, s := range b {
		if j := s(f); j != onward {
			return j
		}
	}
	return onward
}

// nested runs a block inside of another: what leaves it goes on after it.
func (b block) nested(f *frame) jump {
	switch j := b.run(f); {
	case j == 0:
		return onward
	case j > 0:
		return j - 1
	default:
		return j
	}
}

// defined goes on where something is so, and leaves the block where not.
func defined(so bool) jump {
	if so {
		return onward
	}
	return 0
}

func (f *frame) fail(err error) jump {
	f.failed = err
	return failed
}

// An operand is a local, or a constant.
type operand struct {
	local    int
	constant *ast.Term
}

func (o operand) of(f *frame) *ast.Term {
	if o.constant != nil {
		return o.constant
	}
	return f.locals[o.local]
}

// A lowering makes steps of a plan.
type lowering struct {
	strings []*ast.Term
	funcs   map[string]int // by name
	width   int            // of the function in hand
}

// lower makes the whole plan ready.
// Errors: [errBeyond].
func lower(p *ir.Policy, data ast.Value) (*machine, error) {
	l := &lowering{funcs: map[string]int{}}
	if p.Static != nil {
		for _, s := range p.Static.Strings {
			l.strings = append(l.strings, ast.StringTerm(s.Value))
		}
	}
	m := &machine{data: ast.NewTerm(data), nothing: &ast.Term{}, entries: map[string]int{}}
	if p.Funcs == nil {
		return nil, errBeyond
	}
	for i, f := range p.Funcs.Funcs {
		l.funcs[f.Name] = i
		// A path is a generation, and then where the rule is in data.
		if len(f.Path) == 4 && f.Path[1] == "fabric" && len(f.Params) == 2 {
			m.entries[f.Path[2]+"."+f.Path[3]] = i
		}
	}
	for _, question := range policy.Questions() {
		for _, member := range []string{"allow", "reasons"} {
			if _, ok := m.entries[question+"."+member]; !ok {
				return nil, fmt.Errorf("%w: no plan for %s.%s", errBeyond, question, member)
			}
		}
	}
	for _, f := range p.Funcs.Funcs {
		l.width = 0
		out := function{once: len(f.Params) == 2}
		for _, p := range f.Params {
			out.params = append(out.params, l.local(p))
		}
		l.local(f.Return)
		for _, b := range f.Blocks {
			steps, err := l.block(b)
			if err != nil {
				return nil, err
			}
			out.blocks = append(out.blocks, steps)
		}
		out.width = l.width
		m.funcs = append(m.funcs, out)
	}
	return m, nil
}

// local notes that a local is used.
func (l *lowering) local(at ir.Local) int {
	l.width = max(l.width, int(at)+1)
	return int(at)
}

func (l *lowering) operand(o ir.Operand) operand {
	switch v := o.Value.(type) {
	case ir.Local:
		return operand{local: l.local(v)}
	case *ir.Local:
		return operand{local: l.local(*v)}
	case ir.StringIndex:
		return operand{constant: l.strings[v]}
	case *ir.StringIndex:
		return operand{constant: l.strings[*v]}
	case ir.Bool:
		return operand{constant: ast.InternedTerm(bool(v))}
	case *ir.Bool:
		return operand{constant: ast.InternedTerm(bool(*v))}
	}
	return operand{}
}

func (l *lowering) block(b *ir.Block) (block, error) {
	var steps block
	for _, stmt := range b.Stmts {
		s, err := l.step(stmt)
		if err != nil {
			return nil, err
		}
		if s != nil {
			steps = append(steps, s)
		}
	}
	return steps, nil
}

// step makes one statement ready.
// Errors: [errBeyond] for the few that change the input or choose a rule by its
// name while they run.
func (l *lowering) step(stmt ir.Stmt) (step, error) {
	switch s := stmt.(type) {
	case *ir.NopStmt:
		return nil, nil
	case *ir.ReturnLocalStmt:
		from := l.local(s.Source)
		return func(f *frame) jump { f.answer = f.locals[from]; return returned }, nil
	case *ir.BreakStmt:
		out := jump(s.Index)
		return func(*frame) jump { return out }, nil
	case *ir.BlockStmt, *ir.NotStmt, *ir.ScanStmt:
		return l.nest(stmt)
	case *ir.CallStmt:
		return l.call(s)
	case *ir.AssignVarStmt, *ir.AssignVarOnceStmt, *ir.AssignIntStmt, *ir.ResetLocalStmt:
		return l.assign(stmt), nil
	case *ir.DotStmt:
		from, key, to := l.operand(s.Source), l.operand(s.Key), l.local(s.Target)
		return func(f *frame) jump {
			got := member(from.of(f), key.of(f))
			f.locals[to] = got
			return defined(got != nil)
		}, nil
	case *ir.EqualStmt:
		a, b := l.operand(s.A), l.operand(s.B)
		return func(f *frame) jump { return defined(equal(a.of(f), b.of(f))) }, nil
	case *ir.NotEqualStmt:
		a, b := l.operand(s.A), l.operand(s.B)
		return func(f *frame) jump { return defined(!equal(a.of(f), b.of(f))) }, nil
	case *ir.IsDefinedStmt:
		at := l.local(s.Source)
		return func(f *frame) jump { return defined(f.locals[at] != nil) }, nil
	case *ir.IsUndefinedStmt:
		at := l.local(s.Source)
		return func(f *frame) jump { return defined(f.locals[at] == nil) }, nil
	case *ir.IsArrayStmt:
		return kind[*ast.Array](l.operand(s.Source)), nil
	case *ir.IsObjectStmt:
		return kind[ast.Object](l.operand(s.Source)), nil
	case *ir.IsSetStmt:
		return kind[ast.Set](l.operand(s.Source)), nil
	}
	return l.build(stmt)
}

// nest is the step of a statement that holds blocks.
func (l *lowering) nest(stmt ir.Stmt) (step, error) {
	switch s := stmt.(type) {
	case *ir.BlockStmt:
		var all []block
		for _, b := range s.Blocks {
			steps, err := l.block(b)
			if err != nil {
				return nil, err
			}
			all = append(all, steps)
		}
		return func(f *frame) jump {
			for _, b := range all {
				if j := b.nested(f); j != onward {
					return j
				}
			}
			return onward
		}, nil
	case *ir.NotStmt:
		steps, err := l.block(s.Block)
		return func(f *frame) jump {
			switch j := steps.run(f); {
			case j == onward: // all of it is so
				return 0
			case j == 0:
				return onward
			case j > 0:
				return j - 1
			default:
				return j
			}
		}, err
	case *ir.ScanStmt:
		steps, err := l.block(s.Block)
		source, key, value := l.local(s.Source), l.local(s.Key), l.local(s.Value)
		return func(f *frame) jump {
			return scan(f.locals[source], func(k, v *ast.Term) jump {
				f.locals[key], f.locals[value] = k, v
				return steps.run(f)
			})
		}, err
	}
	return nil, errBeyond
}

// scan goes over a collection in its order, until a turn leaves more than
// itself: a scan is two blocks, the turn and the whole.
func scan(source *ast.Term, turn func(key, value *ast.Term) jump) jump {
	out := onward
	over := func(k, v *ast.Term) (stop bool) {
		switch j := turn(k, v); {
		case j == onward || j == 0:
			return false
		case j == 1:
		case j > 1:
			out = j - 2
		default:
			out = j
		}
		return true
	}
	if source == nil {
		return onward
	}
	switch all := source.Value.(type) {
	case *ast.Array:
		for i := range all.Len() {
			if over(ast.InternedTerm(i), all.Elem(i)) {
				break
			}
		}
	case ast.Set:
		for _, v := range all.Slice() {
			if over(v, v) {
				break
			}
		}
	case ast.Object:
		for _, k := range all.Keys() {
			if over(k, all.Get(k)) {
				break
			}
		}
	}
	return out
}

// call is the step of a call: of another function of the plan, or of one that is
// built in.
func (l *lowering) call(s *ir.CallStmt) (step, error) {
	args, to := make([]operand, len(s.Args)), l.local(s.Result)
	for i, a := range s.Args {
		args[i] = l.operand(a)
	}
	if at, ok := l.funcs[s.Func]; ok {
		return func(f *frame) jump {
			base := len(f.execution.locals)
			got := f.call(at, f.given(args)...)
			f.execution.locals = f.execution.locals[:base]
			return f.called(to, got)
		}, nil
	}
	built, err := builtin(s.Func)
	if err != nil {
		return nil, err
	}
	return func(f *frame) jump {
		base := len(f.execution.locals)
		got, err := built(f.execution, f.given(args))
		f.execution.locals = f.execution.locals[:base]
		if err != nil {
			return f.fail(err)
		}
		return f.called(to, got)
	}, nil
}

// given are the values of arguments, in room that is reserved for them.
func (f *frame) given(args []operand) []*ast.Term {
	values := f.reserve(len(args))
	for i, a := range args {
		values[i] = a.of(f)
	}
	return values
}

func (f *frame) called(to int, got *ast.Term) jump {
	if f.failed != nil {
		return failed
	}
	f.locals[to] = got
	return defined(got != nil)
}
