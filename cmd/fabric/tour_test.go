package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/cmd/manual"
)

var tourBlock = regexp.MustCompile("(?s)(```sh tour\n)(.*?)(```)")

// The README's tour and that of the command are one: the block is made from
// the steps.
func TestTheReadmesTourIsTheCommands(t *testing.T) {
	path := docRoot + "README.md"
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	block := tourBlock.FindSubmatch(page)
	require.NotNil(t, block, "the README has no tour")
	if os.Getenv("FABRIC_UPDATE") != "" {
		page = tourBlock.ReplaceAll(page, []byte("${1}"+strings.ReplaceAll(tourScript(), "$", "$$")+"${3}"))
		require.NoError(t, os.WriteFile(path, page, 0o644))
		return
	}
	require.Equal(t, tourScript(), string(block[2]), "make it anew with: FABRIC_UPDATE=1 go test ./cmd/fabric")
}

func TestEveryStepOfTheTourCanBeRun(t *testing.T) {
	require.NoError(t, manual.Check(bare, tourScript()))
	for _, s := range tourSteps() {
		require.NotEmpty(t, s.Comes, s.Title)
		require.NotEmpty(t, s.Look, s.Title)
		require.NotEmpty(t, s.Commands, s.Title)
		for _, c := range s.Commands {
			require.Regexp(t, `^(fabric |export [A-Z_]+=)`, c)
		}
	}
}

// A tour needs somebody to press Enter, or leave not to wait; what it would do
// is shown to anybody.
func TestHowATourIsCalled(t *testing.T) {
	d := newDesk(t)
	d.fails(exitUsage, "fabric tour --yes", "tour")
	d.fails(exitUsage, "steps 1 to", "tour", "--yes", "--from", "99")
	d.fails(exitUsage, "fabric tour --list", "tour", "--yes", "-o", "json")
	d.with("FABRIC_API_URL=http://127.0.0.1:1").fails(exitUnavailable, "fabric doctor", "tour", "--yes")
	var steps []tourStep
	require.NoError(t, json.Unmarshal([]byte(d.ok("tour", "--list", "-o", "json")), &steps))
	require.Equal(t, tourSteps(), steps)
	require.Contains(t, d.ok("tour", "--list"), "fabric audit verify")
}

// A step that fails is named, what was done is remembered, and the tour goes
// on there; what only sets something is done again.
func TestATourGoesOnWhereItWas(t *testing.T) {
	var asked []string
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			asked = append(asked, r.Method+" "+r.URL.Path)
			require.NotEmpty(t, r.Header.Get("Authorization"), "the token of the first step")
		}
		w.Header().Set("Content-Type", "application/json")
		switch r.Method + " " + r.URL.Path {
		case "GET /health":
			_, _ = w.Write([]byte(`{"status":"pass","checks":{}}`))
		case "POST /features/register":
			_, _ = w.Write([]byte(`{"tenant":"hosp-north","feature_id":"wdbc","version":1}`))
		case "GET /features/hosp-north":
			_, _ = w.Write([]byte(`{"items":[]}`))
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer gateway.Close()
	d := newDesk(t).with("FABRIC_API_URL=" + gateway.URL)
	require.NoError(t, os.MkdirAll(d.path("state"), 0o700))
	status, out, log := d.run("tour", "--yes")
	require.Equal(t, exitFailure, status, log)
	require.Contains(t, log, "step 3: fabric round start")
	require.Contains(t, log, "go on with: fabric tour")
	require.Contains(t, out, "2 of 6: A feature and consent for it")
	require.Contains(t, out, d.path("state")+"/keys/fabric.pub", "places are those of this state directory")
	require.Contains(t, out, "CONSENT says granted")
	before := len(asked)

	status, out, _ = d.run("tour", "--yes")
	require.Equal(t, exitFailure, status)
	require.Contains(t, out, "goes on with step 3")
	require.Contains(t, out, "1 of 6")
	require.NotContains(t, out, "2 of 6")
	require.Equal(t, "POST /train/round", asked[before], "the registration was done before")

	_, out, _ = d.run("tour", "--yes", "--from", "2")
	require.Contains(t, out, "2 of 6")
}
