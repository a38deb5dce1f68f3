package main

import (
	"strings"

	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
)

const (
	clusterName = "active"
	// One shard: a file keeps the number it was made with for ever, and one
	// SQLite writer is busy long before one shard is.
	shards = 1
)

// dynamicDefaults are the settings in which a development server should differ
// from a cluster; --dynamic-config-value overrides each. Keys are lower case.
func dynamicDefaults() map[string]any {
	d := map[string]any{}
	for key, value := range map[string]any{
		// A shard's queues are polled at most 20 times a second by default, and
		// every step of a round waits for such a poll: a signal reaches its
		// activity in 7 ms instead of 44 ms.
		"history.transferProcessorMaxPollRPS":   500,
		"history.timerProcessorMaxPollRPS":      500,
		"history.visibilityProcessorMaxPollRPS": 200,
		// Ten list calls a second is a limit for tenants, not for one
		// developer's console, tests and Web UI together.
		"frontend.namespaceRPS.visibility": 1000,
		// An attribute added while the server runs is usable at once.
		"system.forceSearchAttributesCacheRefreshOnRead": true,
		// It would ask the vendor's server whether there is a newer version.
		"frontend.enableServerVersionCheck": false,
	} {
		d[strings.ToLower(key)] = value
	}
	return d
}

// pragmaDefaults choose a write-ahead log, synced at checkpoints: three times
// the throughput of the rollback journal. Killing the process loses nothing;
// a power cut may lose the last moments, never the file's consistency. Ask for
// synchronous=full where that matters.
func pragmaDefaults() map[string]string {
	return map[string]string{"journal_mode": "wal", "synchronous": "normal"}
}

func dynamicClient(values map[string]any) dynamicconfig.Client {
	c := make(dynamicconfig.StaticClient, len(values))
	for key, value := range values {
		c[dynamicconfig.MakeKey(key)] = value
	}
	return c
}

// newLogger writes to standard error: standard output says when we are ready.
func newLogger(level, format string) log.Logger {
	if level == "never" {
		return log.NewNoopLogger()
	}
	if format != "json" {
		format = "console"
	}
	return log.NewZapLogger(log.BuildZapLogger(log.Config{Level: level, Format: format}))
}

// serverConfig is the whole static configuration of the four services. Only the
// frontend's address is for others; the rest are any free ports of 127.0.0.1.
func serverConfig(db *config.SQL, a addresses) *config.Config {
	internal := func(port int) config.Service {
		return config.Service{RPC: config.RPC{GRPCPort: port, BindOnLocalHost: true}}
	}
	return &config.Config{
		Persistence: config.Persistence{
			DefaultStore:     sqlite.PluginName,
			VisibilityStore:  sqlite.PluginName,
			NumHistoryShards: shards,
			DataStores:       map[string]config.DataStore{sqlite.PluginName: {SQL: db}},
		},
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10,
			MasterClusterName:        clusterName,
			CurrentClusterName:       clusterName,
			ClusterInformation: map[string]cluster.ClusterInformation{
				clusterName: {Enabled: true, InitialFailoverVersion: 1, RPCAddress: a.frontend},
			},
		},
		DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
		Services: map[string]config.Service{
			"frontend": {RPC: config.RPC{GRPCPort: a.frontendPort, HTTPPort: a.httpPort, BindOnIP: a.ip}},
			"history":  internal(a.historyPort),
			"matching": internal(a.matchingPort),
			"worker":   internal(a.workerPort),
		},
		Archival: config.Archival{
			History:    config.HistoryArchival{State: config.ArchivalDisabled},
			Visibility: config.VisibilityArchival{State: config.ArchivalDisabled},
		},
		NamespaceDefaults: config.NamespaceDefaults{Archival: config.ArchivalNamespaceDefaults{
			History:    config.HistoryArchivalNamespaceDefaults{State: config.ArchivalDisabled},
			Visibility: config.VisibilityArchivalNamespaceDefaults{State: config.ArchivalDisabled},
		}},
		PublicClient: config.PublicClient{HostPort: a.frontend},
	}
}
