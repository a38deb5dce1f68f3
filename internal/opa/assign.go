package opa

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
)

// errConflict is a rule that says two things at once.
var errConflict = errors.New("a rule has two values")

// assign is the step of a statement that sets a local.
func (l *lowering) assign(stmt ir.Stmt) step {
	switch s := stmt.(type) {
	case *ir.AssignVarStmt:
		from, to := l.operand(s.Source), l.local(s.Target)
		return func(f *frame) jump { f.locals[to] = from.of(f); return onward }
	case *ir.AssignVarOnceStmt:
		from, to := l.operand(s.Source), l.local(s.Target)
		return func(f *frame) jump {
			value := from.of(f)
			if had := f.locals[to]; had != nil && !equal(had, value) {
				return f.fail(errConflict)
			}
			f.locals[to] = value
			return onward
		}
	case *ir.AssignIntStmt:
		return constant(l.local(s.Target), ast.InternedTerm(int(s.Value)))
	case *ir.ResetLocalStmt:
		return constant(l.local(s.Target), nil)
	}
	return nil
}

func constant(to int, value *ast.Term) step {
	return func(f *frame) jump { f.locals[to] = value; return onward }
}

// build is the step of a statement that makes a value.
func (l *lowering) build(stmt ir.Stmt) (step, error) {
	switch s := stmt.(type) {
	case *ir.MakeNullStmt:
		return constant(l.local(s.Target), ast.NullTerm()), nil
	case *ir.MakeNumberIntStmt:
		return constant(l.local(s.Target), ast.InternedTerm(int(s.Value))), nil
	case *ir.MakeNumberRefStmt:
		digits, ok := l.strings[s.Index].Value.(ast.String)
		if !ok {
			return nil, errBeyond
		}
		return constant(l.local(s.Target), ast.NumberTerm(json.Number(digits))), nil
	case *ir.MakeArrayStmt:
		return constant(l.local(s.Target), ast.ArrayTerm()), nil
	case *ir.MakeObjectStmt:
		to := l.local(s.Target)
		return func(f *frame) jump { f.locals[to] = ast.ObjectTerm(); return onward }, nil
	case *ir.MakeSetStmt:
		to := l.local(s.Target)
		return func(f *frame) jump { f.locals[to] = ast.SetTerm(); return onward }, nil
	case *ir.LenStmt:
		from, to := l.operand(s.Source), l.local(s.Target)
		return func(f *frame) jump {
			n, ok := length(from.of(f))
			f.locals[to] = ast.InternedTerm(n)
			return defined(ok)
		}, nil
	case *ir.ArrayAppendStmt:
		value, to := l.operand(s.Value), l.local(s.Array)
		return func(f *frame) jump {
			all, ok := f.locals[to].Value.(*ast.Array)
			if ok {
				f.locals[to] = ast.NewTerm(all.Append(value.of(f)))
			}
			return defined(ok)
		}, nil
	case *ir.SetAddStmt:
		value, to := l.operand(s.Value), l.local(s.Set)
		return func(f *frame) jump {
			all, ok := f.locals[to].Value.(ast.Set)
			if ok {
				all.Add(value.of(f))
			}
			return defined(ok)
		}, nil
	case *ir.ObjectInsertStmt:
		key, value, to := l.operand(s.Key), l.operand(s.Value), l.local(s.Object)
		return func(f *frame) jump {
			all, ok := f.locals[to].Value.(ast.Object)
			if ok {
				all.Insert(key.of(f), value.of(f))
			}
			return defined(ok)
		}, nil
	case *ir.ObjectInsertOnceStmt:
		key, value, to := l.operand(s.Key), l.operand(s.Value), l.local(s.Object)
		return func(f *frame) jump {
			all, ok := f.locals[to].Value.(ast.Object)
			if !ok {
				return 0
			}
			k, v := key.of(f), value.of(f)
			if had := all.Get(k); had != nil && !equal(had, v) {
				return f.fail(errConflict)
			}
			all.Insert(k, v)
			return onward
		}, nil
	}
	return nil, fmt.Errorf("%w: %T", errBeyond, stmt)
}
