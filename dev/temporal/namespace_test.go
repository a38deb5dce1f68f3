package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	keyword = enumspb.INDEXED_VALUE_TYPE_KEYWORD
	integer = enumspb.INDEXED_VALUE_TYPE_INT
)

type attributes = map[string]enumspb.IndexedValueType

// The columns are those of schema/sqlite/v3/visibility of server 1.32.1:
// Keyword01..10, Int01..03 and so on.
func TestReconcile(t *testing.T) {
	eleven := attributes{}
	for i := range 11 {
		eleven[fmt.Sprintf("K%02d", i)] = keyword
	}
	tests := []struct {
		name    string
		had     map[string]string
		want    attributes
		aliases map[string]string
		changed bool
		err     error
	}{
		{"takes the first columns in the order of names", nil, attributes{"B": keyword, "A": keyword, "N": integer},
			map[string]string{"Keyword01": "A", "Keyword02": "B", "Int01": "N"}, true, nil},
		{"asked again changes nothing", map[string]string{"Keyword01": "A"}, attributes{"A": keyword},
			map[string]string{"Keyword01": "A"}, false, nil},
		{"asked for less keeps what is there", map[string]string{"Keyword01": "A"}, attributes{},
			map[string]string{"Keyword01": "A"}, false, nil},
		{"adds to what is there", map[string]string{"Keyword02": "A"}, attributes{"A": keyword, "B": keyword},
			map[string]string{"Keyword01": "B", "Keyword02": "A"}, true, nil},
		{"refuses another type", map[string]string{"Keyword01": "A"}, attributes{"A": integer}, nil, false, errOtherType},
		{"refuses the server's own name", nil, attributes{"WorkflowId": keyword}, nil, false, errReserved},
		{"refuses a reserved prefix", nil, attributes{"TemporalX": keyword}, nil, false, errReserved},
		{"refuses the eleventh keyword", nil, eleven, nil, false, errFull},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := &persistencespb.NamespaceConfig{Retention: durationpb.New(time.Hour), CustomSearchAttributeAliases: tt.had}
			changed, err := reconcile(cfg, time.Hour, tt.want)
			if tt.err != nil {
				var bad *attributeError
				require.ErrorAs(t, err, &bad)
				require.ErrorIs(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.changed, changed)
			require.Equal(t, tt.aliases, cfg.CustomSearchAttributeAliases)
		})
	}
}

func TestReconcileSetsTheRetention(t *testing.T) {
	cfg := &persistencespb.NamespaceConfig{Retention: durationpb.New(time.Hour)}
	changed, err := reconcile(cfg, 2*time.Hour, nil)
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, 2*time.Hour, cfg.Retention.AsDuration())
}
