package opa

import (
	"errors"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// A built is a function that is built in: nil is undefined.
type built func(x *execution, args []*ast.Term) (*ast.Term, error)

// pure are the built-in functions that a machine runs: those that see nothing but
// their arguments, and give one answer.
func pure() []string {
	return []string{
		"plus", "minus", "mul", "div", "rem", "abs", "round", "ceil", "floor",
		"and", "or", "intersection", "union", "count", "sum", "product", "max", "min", "sort",
		"internal.member_3",
		"is_string", "is_number", "is_boolean", "is_null", "is_array", "is_object", "is_set", "type_name", "to_number",
		"concat", "contains", "startswith", "endswith", "lower", "upper", "split", "replace", "trim", "trim_prefix", "trim_suffix", "trim_space", "substring", "indexof", "sprintf",
		"array.concat", "array.slice", "array.reverse",
		"object.get", "object.keys", "object.remove", "object.filter", "object.union",
	}
}

// builtin returns a built-in function by its name.
// Errors: [errBeyond].
func builtin(name string) (built, error) {
	compare := func(so func(order int) bool) built {
		return func(_ *execution, args []*ast.Term) (*ast.Term, error) {
			return ast.InternedTerm(so(args[0].Value.Compare(args[1].Value))), nil
		}
	}
	switch name {
	case "equal":
		return compare(func(order int) bool { return order == 0 }), nil
	case "neq":
		return compare(func(order int) bool { return order != 0 }), nil
	case "lt":
		return compare(func(order int) bool { return order < 0 }), nil
	case "lte":
		return compare(func(order int) bool { return order <= 0 }), nil
	case "gt":
		return compare(func(order int) bool { return order > 0 }), nil
	case "gte":
		return compare(func(order int) bool { return order >= 0 }), nil
	case "internal.member_2":
		return func(_ *execution, args []*ast.Term) (*ast.Term, error) {
			return ast.InternedTerm(holds(args[1], args[0])), nil
		}, nil
	}
	f := topdown.GetBuiltin(name)
	if f == nil || !slices.Contains(pure(), name) {
		return nil, fmt.Errorf("%w: %s", errBeyond, name)
	}
	return func(x *execution, args []*ast.Term) (*ast.Term, error) {
		x.built = nil
		err := f(topdown.BuiltinContext{}, args, x.take)
		if err == nil {
			return x.built, nil
		}
		if halt := (topdown.Halt{}); errors.As(err, &halt) {
			return nil, halt.Err
		}
		return nil, nil // what cannot be computed is undefined, and no failure
	}, nil
}

// member is what stands in a collection under a key.
func member(of, key *ast.Term) *ast.Term {
	if of == nil || key == nil {
		return nil
	}
	switch all := of.Value.(type) {
	case ast.Object:
		return all.Get(key)
	case *ast.Array:
		return all.Get(key)
	case ast.Set:
		if all.Contains(key) {
			return key
		}
	}
	return nil
}

// holds says whether a value is in a collection.
func holds(collection, value *ast.Term) bool {
	same := func(t *ast.Term) bool { return equal(t, value) }
	switch all := collection.Value.(type) {
	case ast.Set:
		return all.Contains(value)
	case *ast.Array:
		return all.Until(same)
	case ast.Object:
		return all.Until(func(_, v *ast.Term) bool { return same(v) })
	}
	return false
}

func equal(a, b *ast.Term) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a == b || a.Value.Compare(b.Value) == 0
}

// length is how many members a collection has, or characters a text.
func length(of *ast.Term) (int, bool) {
	if of == nil {
		return 0, false
	}
	switch all := of.Value.(type) {
	case *ast.Array:
		return all.Len(), true
	case ast.Set:
		return all.Len(), true
	case ast.Object:
		return all.Len(), true
	case ast.String:
		return len([]rune(string(all))), true
	}
	return 0, false
}

// kind goes on where an operand is a T.
func kind[T any](o operand) step {
	return func(f *frame) jump {
		value := o.of(f)
		if value == nil {
			return 0
		}
		_, ok := value.Value.(T)
		return defined(ok)
	}
}
