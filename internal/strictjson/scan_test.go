package strictjson_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/strictjson"
)

func TestRefusesWhatTwoReadersCouldReadDifferently(t *testing.T) {
	tests := []struct {
		name    string
		text    string
		pointer string
		want    error
	}{
		{"nothing", ``, "", strictjson.ErrSyntax},
		{"half a value", `{"a":`, "", strictjson.ErrSyntax},
		{"text after the value", `{} {}`, "", strictjson.ErrSyntax},
		{"NaN", `{"a":NaN}`, "", strictjson.ErrSyntax},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", "", strictjson.ErrEncoding},
		{"a name twice", `{"tenant":"a","tenant":"b"}`, "/tenant", strictjson.ErrDuplicate},
		{"a name in two cases", `{"tenant":"a","TENANT":"b"}`, "/TENANT", strictjson.ErrDuplicate},
		{"a name in two escapings", `{"tenant":"a","\u0074enant":"b"}`, "/tenant", strictjson.ErrDuplicate},
		{"a name with the Kelvin sign", `{"kind":1,"\u212aind":2}`, "/\u212aind", strictjson.ErrDuplicate},
		{"a name with the long s", `{"sub":1,"\u017fub":2}`, "/\u017fub", strictjson.ErrDuplicate},
		{"a name twice, deep", `{"a":[1,{"b/c":{"d":1,"d":2}}]}`, "/a/1/b~1c/d", strictjson.ErrDuplicate},
		{"bottomless arrays", strings.Repeat("[", 65) + strings.Repeat("]", 65), strings.Repeat("/0", 64), strictjson.ErrDepth},
		{"bottomless objects", strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65), strings.Repeat("/a", 64), strictjson.ErrDepth},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := strictjson.Check([]byte(tt.text))
			require.ErrorIs(t, err, tt.want)
			var where *strictjson.Error
			require.ErrorAs(t, err, &where)
			require.Equal(t, tt.pointer, where.Pointer)
		})
	}
}

func TestObjectReturnsMembersAsWritten(t *testing.T) {
	members, err := strictjson.Object([]byte(" {\"a\" : 1.50 ,\n\"b\":{\"c\":[ ]}, \"d\\\"\":\"x\\\\\", \"e\":null} "))
	require.NoError(t, err)
	require.Equal(t, []strictjson.Member{
		{Name: "a", Value: json.RawMessage(`1.50`)},
		{Name: "b", Value: json.RawMessage(`{"c":[ ]}`)},
		{Name: `d"`, Value: json.RawMessage(`"x\\"`)},
		{Name: "e", Value: json.RawMessage(`null`)},
	}, members)

	_, err = strictjson.Object([]byte(`[1]`))
	require.ErrorIs(t, err, strictjson.ErrNotObject)
	_, err = strictjson.Object([]byte(` "x"`))
	require.ErrorIs(t, err, strictjson.ErrNotObject)
}

func TestDecodeTakesExactNamesOnly(t *testing.T) {
	var a string
	var n int
	fields := map[string]any{"a": &a, "n": &n}
	require.NoError(t, strictjson.Decode([]byte(`{"a":"x","n":3}`), fields))
	require.Equal(t, "x", a)
	require.Equal(t, 3, n)

	require.ErrorIs(t, strictjson.Decode([]byte(`{"A":"x"}`), fields), strictjson.ErrUnknown)
	err := strictjson.Decode([]byte(`{"n":"secret"}`), fields)
	require.EqualError(t, err, `json at "/n": not a number in range`)
}

func TestElementsAreAsWritten(t *testing.T) {
	var got []string
	require.True(t, strictjson.Elements([]byte(` [1, "a,]\\\"" ,{"b":[2,3]},[ [4] ],null ]`), func(e []byte) bool {
		got = append(got, string(e))
		return true
	}))
	require.Equal(t, []string{`1`, `"a,]\\\""`, `{"b":[2,3]}`, `[ [4] ]`, `null`}, got)
	require.True(t, strictjson.Elements([]byte(`[]`), func([]byte) bool { return false }))
	require.False(t, strictjson.Elements([]byte(`{}`), func([]byte) bool { return true }))
	require.False(t, strictjson.Elements([]byte(`[1]`), func([]byte) bool { return false }))
}

func TestMembersAreAsWritten(t *testing.T) {
	var got []string
	require.True(t, strictjson.Members([]byte(` {"a" : 1 ,"\u0062\"":"}\\" , "c":{"d":[ {} ]},"":null}`), func(name, value []byte) bool {
		got = append(got, string(name)+"="+string(value))
		return true
	}))
	require.Equal(t, []string{`a=1`, `b"="}\\"`, `c={"d":[ {} ]}`, `=null`}, got)
	require.True(t, strictjson.Members([]byte(`{}`), func(_, _ []byte) bool { return false }))
	require.False(t, strictjson.Members([]byte(`[]`), func(_, _ []byte) bool { return true }))
	require.False(t, strictjson.Members([]byte(`{"a":1}`), func(_, _ []byte) bool { return false }))
	require.Nil(t, strictjson.Text([]byte(`1`)))
	require.Equal(t, "é\n", string(strictjson.Text([]byte(`"\u00e9\n"`))))
}

func TestANameTwiceAmongManyIsRefused(t *testing.T) {
	for _, n := range []int{2, 12, 13, 14, 100} {
		var text strings.Builder
		for i := range n {
			fmt.Fprintf(&text, `"name%d":1,`, i)
		}
		require.NoError(t, strictjson.Check([]byte(`{`+text.String()+`"x":1}`)))
		for _, i := range []int{0, n - 1} {
			twice := fmt.Sprintf(`{%s"NAME%d":1}`, text.String(), i)
			require.ErrorIs(t, strictjson.Check([]byte(twice)), strictjson.ErrDuplicate, "%d of %d", i, n)
		}
	}
}

// What passes must be what encoding/json sees: the same members, each once.
func FuzzObjectAgreesWithEncodingJSON(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1,"b":[{"c":"\""}]}`, `{"a":{"a":{"a":[]}}}`, `{"\u00e9":1,"é":2}`, ` {"a" :-1e5 , "":""}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		members, err := strictjson.Object(raw)
		switch {
		case err == nil:
		case errors.Is(err, strictjson.ErrSyntax):
			require.False(t, json.Valid(raw), "%q", raw)
			return
		case errors.Is(err, strictjson.ErrEncoding):
			require.False(t, utf8.Valid(raw), "%q", raw)
			return
		default:
			return
		}
		var plain map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(raw, &plain))
		require.Len(t, members, len(plain))
		i := 0
		require.True(t, strictjson.Members(raw, func(name, value []byte) bool {
			require.Equal(t, members[i], strictjson.Member{Name: string(name), Value: value})
			i++
			return true
		}))
		require.Len(t, members, i)
		for _, m := range members {
			require.JSONEq(t, string(plain[m.Name]), string(m.Value))
			var list []json.RawMessage
			if json.Unmarshal(m.Value, &list) == nil && m.Value[0] == '[' {
				i := 0
				require.True(t, strictjson.Elements(m.Value, func(e []byte) bool {
					require.Equal(t, string(list[i]), string(e))
					i++
					return true
				}))
				require.Len(t, list, i)
			}
		}
	})
}

func BenchmarkFields(b *testing.B) {
	for _, size := range []int{1 << 10, 4 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			head := `{"tenant":"clinic","model_id":"tumour","input":{"data":[[`
			text := []byte(head + strings.Repeat("0.5234,", (size-len(head))/7) + `1]]}}`)
			var room [8]strictjson.Field
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := strictjson.Fields(room[:0], text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
