package web

import (
	"fmt"
	"html/template"

	"github.com/atom-fabric/fabric/domain/chart"
)

// recordRoutes are the pages that show what the system holds and does.
func recordRoutes() []route {
	return []route{
		{pattern: "GET /runs", handle: runs},
		{pattern: "GET /runs/events", handle: stream(runsPart)},
		{pattern: "GET /runs/{id}", handle: run},
		{pattern: "GET /runs/{id}/events", handle: stream(runPart)},
		{pattern: "POST /runs/{id}/pause", handle: steerRun("pause")},
		{pattern: "POST /runs/{id}/resume", handle: steerRun("resume")},
		{pattern: "POST /runs/{id}/stop", handle: steerRun("stop")},
		{pattern: "GET /audit", handle: auditLog},
		{pattern: "GET /audit/export", handle: exportLog},
		{pattern: "GET /audit/{index}", handle: leaf},
		{pattern: "GET /rollouts", handle: rollouts},
		{pattern: "GET /rollouts/{id}", handle: rollout},
		{pattern: "GET /rollouts/{id}/events", handle: stream(rolloutPart)},
		{pattern: "POST /rollouts/{id}/steer", handle: steerRollout},
		{pattern: "GET /policies", handle: policies},
		{pattern: "GET /policies/rollouts/{id}", handle: policyPage},
		{pattern: "GET /policies/rollouts/{id}/events", handle: stream(policyPart)},
		{pattern: "POST /policies/rollouts/{id}/steer", handle: steerPolicy},
		{pattern: "GET /policies/proposals/{id}", handle: proposal},
		{pattern: "GET /catalog", handle: catalog},
		{pattern: "GET /catalog/{tenant}/{feature}", handle: featureView},
		{pattern: "POST /catalog/{tenant}/{feature}/access", handle: askAccess},
		{pattern: "POST /catalog/{tenant}/{feature}/withdrawal", handle: withdraw},
		{pattern: "POST /access/{id}", handle: decideAccess},
		{pattern: "GET /withdrawals/{epoch}", handle: withdrawal},
		{pattern: "GET /regions", handle: regions},
		{pattern: "GET /regions/events", handle: stream(regionsPart)},
		{pattern: "GET /models", handle: models},
		{pattern: "GET /models/{id}", handle: model},
		{pattern: "GET /models/{id}/versions/{version}", handle: version},
	}
}

// recordNav is their part of the menu.
func recordNav() []navItem {
	return []navItem{
		{Label: "Runs", Link: link("runs")},
		{Label: "Models", Link: link("models")},
		{Label: "Rollouts", Link: link("rollouts")},
		{Label: "Policies", Link: link("policies")},
		{Label: "Catalog", Link: link("catalog")},
		{Label: "Regions", Link: link("regions")},
		{Label: "Audit", Link: link("audit")},
	}
}

// recordNotices are what these pages say once something was done.
func recordNotices() map[string]string {
	return map[string]string{
		"run-pause":  "The run was asked to hold: the open round ends, no other begins.",
		"run-resume": "The run was asked to go on.",
		"run-stop":   "The run was asked to stop after its open round.",

		"rollout-pause":  "The rollout is paused: who has the version keeps it.",
		"rollout-resume": "The rollout goes on.",
		"rollout-abort":  "The rollout is aborted: what served before serves again.",

		"policy-pause":  "The policy rollout is paused.",
		"policy-resume": "The policy rollout goes on.",
		"policy-abort":  "The policy rollout is aborted: its regions go back.",

		"access-asked":   "Your request is sent to the feature's owner.",
		"access-approve": "The request is approved, and the grant recorded.",
		"access-reject":  "The request is rejected.",
		"access-revoke":  "The access is revoked, and the grant withdrawn.",
		"withdrawn":      "The consent is withdrawn. It holds from now on; see below what it reached.",
	}
}

// recordFuncs are what their templates may call.
func recordFuncs() template.FuncMap {
	return template.FuncMap{
		"state":   stateClass,
		"text":    text,
		"hundred": func(v float64) float64 { return 100 * v },
		"int64":   func(v int) int64 { return int64(v) },
		"short": func(v any) string {
			switch v := v.(type) {
			case float64:
				return chart.Number(v)
			case int:
				return chart.Number(float64(v))
			case int64:
				return chart.Number(float64(v))
			}
			return fmt.Sprint(v)
		},
	}
}

// text is a word of the API, whatever its type.
func text(v any) string { return fmt.Sprint(v) }
