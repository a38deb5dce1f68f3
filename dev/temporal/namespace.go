package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/common"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/common/persistence/serialization"
	"go.temporal.io/server/common/persistence/sql"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/common/resolver"
	"go.temporal.io/server/common/searchattribute/sadefs"
	"google.golang.org/protobuf/types/known/durationpb"
)

var (
	errReserved  = errors.New("the name is the server's own")
	errOtherType = errors.New("exists with another type")
	errFull      = errors.New("no column of its type is left")
)

// An attributeError says which search attribute cannot be had, and why.
type attributeError struct {
	Name string
	Type enumspb.IndexedValueType
	Err  error // errReserved, errOtherType or errFull
}

func (e *attributeError) Error() string {
	return fmt.Sprintf("search attribute %s of type %s: %v", e.Name, e.Type, e.Err)
}
func (e *attributeError) Unwrap() error { return e.Err }

// ensureNamespaces brings the namespaces to what opts asks for, in the database
// and before any service runs: nobody sees a server without them. What a
// namespace has already, stays.
func ensureNamespaces(ctx context.Context, db *config.SQL, opts options, logger log.Logger) error {
	codec := serialization.NewSerializer()
	factory := sql.NewFactory(*db, resolver.NewNoopResolver(), clusterName, logger, metrics.NoopMetricsHandler, codec)
	defer factory.Close()
	store, err := factory.NewMetadataStore()
	if err != nil {
		return err
	}
	m := persistence.NewMetadataManagerImpl(store, codec, logger, clusterName)
	defer m.Close()
	for _, name := range opts.namespaces {
		if err := ensureNamespace(ctx, m, name, opts); err != nil {
			return fmt.Errorf("namespace %s: %w", name, err)
		}
	}
	return nil
}

func ensureNamespace(ctx context.Context, m persistence.MetadataManager, name string, opts options) error {
	found, err := m.GetNamespace(ctx, &persistence.GetNamespaceRequest{Name: name})
	var absent *serviceerror.NamespaceNotFound
	if errors.As(err, &absent) {
		detail := newNamespace(name)
		if _, err := reconcile(detail.Config, opts.retention, opts.attributes); err != nil {
			return err
		}
		_, err := m.CreateNamespace(ctx, &persistence.CreateNamespaceRequest{Namespace: detail})
		return err
	}
	if err != nil {
		return err
	}
	changed, err := reconcile(found.Namespace.Config, opts.retention, opts.attributes)
	if err != nil || !changed {
		return err
	}
	found.Namespace.ConfigVersion++
	meta, err := m.GetMetadata(ctx)
	if err != nil {
		return err
	}
	return m.UpdateNamespace(ctx, &persistence.UpdateNamespaceRequest{
		Namespace:           found.Namespace,
		IsGlobalNamespace:   found.IsGlobalNamespace,
		NotificationVersion: meta.NotificationVersion,
	})
}

func newNamespace(name string) *persistencespb.NamespaceDetail {
	return &persistencespb.NamespaceDetail{
		Info: &persistencespb.NamespaceInfo{
			Id:    primitives.NewUUID().String(),
			Name:  name,
			State: enumspb.NAMESPACE_STATE_REGISTERED,
		},
		Config: &persistencespb.NamespaceConfig{
			HistoryArchivalState:    enumspb.ARCHIVAL_STATE_DISABLED,
			VisibilityArchivalState: enumspb.ARCHIVAL_STATE_DISABLED,
		},
		ReplicationConfig: &persistencespb.NamespaceReplicationConfig{
			ActiveClusterName: clusterName,
			Clusters:          []string{clusterName},
		},
		FailoverVersion:             common.EmptyVersion,
		FailoverNotificationVersion: -1,
	}
}

// reconcile changes cfg to what is asked and says whether there was anything to
// change. The visibility table has a fixed set of columns per type; a search
// attribute of a namespace is a name for one of them, taken here in the order
// of both names, and never given back: stored rows refer to the column.
func reconcile(cfg *persistencespb.NamespaceConfig, retention time.Duration, want map[string]enumspb.IndexedValueType) (changed bool, err error) {
	if cfg.GetRetention().AsDuration() != retention {
		cfg.Retention, changed = durationpb.New(retention), true
	}
	if cfg.CustomSearchAttributeAliases == nil {
		cfg.CustomSearchAttributeAliases = map[string]string{}
	}
	aliases := cfg.CustomSearchAttributeAliases
	columns := sadefs.GetDBIndexSearchAttributes(nil).CustomSearchAttributes
	order := slices.Sorted(maps.Keys(columns))
	column := make(map[string]string, len(aliases)) // of each name
	for c, name := range aliases {
		column[name] = c
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		fail := func(why error) (bool, error) {
			return false, &attributeError{Name: name, Type: want[name], Err: why}
		}
		if !sadefs.IsMappable(name) || sadefs.IsReserved(name) {
			return fail(errReserved)
		}
		if c, ok := column[name]; ok {
			if columns[c] != want[name] {
				return fail(errOtherType)
			}
			continue
		}
		free := slices.IndexFunc(order, func(c string) bool {
			return columns[c] == want[name] && aliases[c] == ""
		})
		if free < 0 {
			return fail(errFull)
		}
		aliases[order[free]] = name
		changed = true
	}
	return changed, nil
}
