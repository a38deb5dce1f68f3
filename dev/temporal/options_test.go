package main

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
)

// The first list is the one that testsuite.StartDevServer of SDK 1.50.0 writes
// (testsuite/devserver.go, prepareCommand).
func TestParseUnderstandsTheSDK(t *testing.T) {
	opts, err := parse([]string{
		"server", "start-dev",
		"--ip", "127.0.0.1", "--port", "40001",
		"--namespace", "fabric",
		"--dynamic-config-value", "frontend.enableServerVersionCheck=false",
		"--log-level", "error", "--log-format", "json",
		"--db-filename", "t.db", "--ui-port", "40002",
		"--search-attribute", "FlTenant=Keyword", "--search-attribute", "FlRound=Int",
	}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, 40001, opts.port)
	require.Equal(t, 40002, opts.uiPort)
	require.Equal(t, "t.db", opts.dbFile)
	require.Equal(t, []string{"default", "fabric"}, opts.namespaces)
	require.Equal(t, 72*time.Hour, opts.retention)
	require.Equal(t, map[string]enumspb.IndexedValueType{
		"FlTenant": enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		"FlRound":  enumspb.INDEXED_VALUE_TYPE_INT,
	}, opts.attributes)
	require.Equal(t, false, opts.dynamic["frontend.enableserverversioncheck"])
}

func TestParseOverridesADefault(t *testing.T) {
	opts, err := parse([]string{
		"server", "start-dev", "--headless", "-f", "t.db", "--port=7300", "--retention=1h",
		"--dynamic-config-value=history.transferProcessorMaxPollRPS=20", "--sqlite-pragma", "synchronous=full",
	}, io.Discard)
	require.NoError(t, err)
	require.True(t, opts.headless)
	require.Equal(t, 8300, opts.uiPort, "the frontend's port + 1000")
	require.EqualValues(t, 20, opts.dynamic["history.transferprocessormaxpollrps"])
	require.EqualValues(t, 500, opts.dynamic["history.timerprocessormaxpollrps"])
	require.Equal(t, map[string]string{"journal_mode": "wal", "synchronous": "full"}, opts.pragmas)
}

func TestParseRefuses(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"another command", []string{"workflow", "list"}, "the one command is"},
		{"no command", nil, "the one command is"},
		{"a stray argument", []string{"server", "start-dev", "now"}, `unexpected argument "now"`},
		{"every interface", []string{"server", "start-dev", "--ip", "0.0.0.0"}, "not a loopback address"},
		{"a name for an address", []string{"server", "start-dev", "--ip", "db.internal"}, "not a loopback address"},
		{"a port too high", []string{"server", "start-dev", "--port", "70000"}, "not between 0 and 65535"},
		{"a UI port too high by the offset", []string{"server", "start-dev", "--port", "65000"}, "port 66000"},
		{"an attribute without type", []string{"server", "start-dev", "--search-attribute", "FlTenant"}, "want name=value"},
		{"an attribute of no known type", []string{"server", "start-dev", "--search-attribute", "FlTenant=Uuid"}, "want Text, Keyword"},
		{"a setting that is not JSON", []string{"server", "start-dev", "--dynamic-config-value", "a.b=yes"}, "is not JSON"},
		{"a pragma without value", []string{"server", "start-dev", "--sqlite-pragma", "journal_mode="}, "want name=value"},
		{"a retention below the server's", []string{"server", "start-dev", "--retention", "5m"}, "shorter than the server's minimum"},
		{"a level that does not exist", []string{"server", "start-dev", "--log-level", "loud"}, "--log-level loud"},
		{"an unknown flag", []string{"server", "start-dev", "--clever"}, "not defined: -clever"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse(tt.args, io.Discard)
			require.ErrorContains(t, err, tt.want)
		})
	}
}
