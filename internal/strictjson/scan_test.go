package strictjson_test

import (
	"encoding/json"
	"strings"
	"testing"

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

// What passes must be what encoding/json sees: the same members, each once.
func FuzzObjectAgreesWithEncodingJSON(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1,"b":[{"c":"\""}]}`, `{"a":{"a":{"a":[]}}}`, `{"\u00e9":1,"é":2}`, ` {"a" :-1e5 , "":""}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		members, err := strictjson.Object(raw)
		if err != nil {
			return
		}
		var plain map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(raw, &plain))
		require.Len(t, members, len(plain))
		for _, m := range members {
			require.JSONEq(t, string(plain[m.Name]), string(m.Value))
		}
	})
}
