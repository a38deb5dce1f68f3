package lineage_test

import (
	"encoding/json"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/lineage"
)

func TestARoundIsAStartAndAnEnd(t *testing.T) {
	began := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	base := lineage.Round{Tenant: "lab", Model: "tumour", Run: "run-1", Number: 2, Kind: "train", Status: "closed", Base: artifact.DigestOf([]byte("a")),
		Weights: artifact.DigestOf([]byte("b")), Manifest: artifact.DigestOf(nil), StartedAt: began, EndedAt: began.Add(time.Second),
		Grants:    []lineage.Grant{{Tenant: "clinic", Feature: "age", ID: "g1", Digest: artifact.DigestOf(nil), Epoch: 3, Actions: []string{"train"}}},
		Withdrawn: []lineage.Withdrawn{{Tenant: "north", Epoch: 2, Effect: "dropped"}}}
	for _, tt := range []struct {
		name   string
		change func(*lineage.Round)
		types  []string
	}{
		{"closed", func(*lineage.Round) {}, []string{"START", "COMPLETE"}},
		{"open", func(r *lineage.Round) { r.Status, r.EndedAt = "open", time.Time{} }, []string{"START"}},
		{"failed", func(r *lineage.Round) { r.Status, r.Cause = "failed", "too few" }, []string{"START", "FAIL"}},
		{"ended with its run", func(r *lineage.Round) { r.Status, r.Canceled = "failed", true }, []string{"START", "ABORT"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := base
			tt.change(&r)
			events := lineage.Of(r)
			require.Len(t, events, len(tt.types))
			for i, e := range events {
				require.Equal(t, tt.types[i], e.EventType)
				text, err := json.Marshal(e)
				require.NoError(t, err)
				conforms(t, text)
				require.Equal(t, events[0].Run.ID, e.Run.ID)
			}
			require.Equal(t, events, lineage.Of(r), "the same round gives the same events")
		})
	}
}

// conforms holds an event to what OpenLineage 2-0-2 asks of a RunEvent: the
// members of its "required" lists (BaseEvent: eventTime, producer, schemaURL;
// RunEvent: run, job; Run: runId as a uuid; Job and Dataset: namespace, name;
// BaseFacet: _producer, _schemaURL; ParentRunFacet: run, job;
// ErrorMessageRunFacet: message, programmingLanguage), their formats, and the
// words of eventType. Source: https://openlineage.io/spec/2-0-2/OpenLineage.json
// and spec/facets 1-0-1 of the same site.
func conforms(t *testing.T, text []byte) {
	t.Helper()
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	var e map[string]any
	require.NoError(t, json.Unmarshal(text, &e))
	uri := func(v any) {
		u, err := url.Parse(v.(string))
		require.NoError(t, err)
		require.True(t, u.IsAbs(), v)
	}
	_, err := time.Parse(time.RFC3339Nano, e["eventTime"].(string))
	require.NoError(t, err)
	uri(e["producer"])
	uri(e["schemaURL"])
	require.Contains(t, []string{"START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"}, e["eventType"])
	named := func(v any) {
		m := v.(map[string]any)
		require.NotEmpty(t, m["namespace"])
		require.NotEmpty(t, m["name"])
	}
	facets := func(v any) {
		if v == nil {
			return
		}
		for name, f := range v.(map[string]any) {
			m := f.(map[string]any)
			uri(m["_producer"])
			uri(m["_schemaURL"])
			switch name {
			case "parent":
				require.Regexp(t, uuid, m["run"].(map[string]any)["runId"])
				named(m["job"])
			case "errorMessage":
				require.NotEmpty(t, m["message"])
				require.NotEmpty(t, m["programmingLanguage"])
			}
		}
	}
	run := e["run"].(map[string]any)
	require.Regexp(t, uuid, run["runId"])
	facets(run["facets"])
	require.Contains(t, run["facets"], "fabric_consent")
	named(e["job"])
	for _, side := range []string{"inputs", "outputs"} {
		for _, d := range e[side].([]any) {
			named(d)
			facets(d.(map[string]any)["facets"])
		}
	}
}
