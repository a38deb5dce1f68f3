package evidence

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
)

func TestVerify(t *testing.T) {
	w := newWorld(t, nil)
	packed, err := w.pack().Encode()
	require.NoError(t, err)
	p, err := Decode(packed)
	require.NoError(t, err)
	chain, err := p.Verify(w.trust())
	require.NoError(t, err)
	require.Equal(t, "promote-1", chain.Promotion)
	require.Len(t, chain.Rounds, 4)
	var what []string
	for _, l := range chain.Links {
		what = append(what, l.What)
	}
	require.Equal(t, []string{"audit log", "promotion", "rollback target", "model", "scorecard", "training", "privacy", "feature", "feature", "serving", "policy",
		"approval", "approval", "shown", "shown", "shown", "model card"}, what)
	require.Contains(t, chain.Links[6].Which, "2 rounds of discrete_gaussian noise per example")
	require.Contains(t, chain.Links[11].Which, "ann as owner: approve")
	require.Contains(t, string(p[readmeFile]), "93.00 % of 100 held-out rows")
}

// Every byte of every file is covered by a signature, a digest or a proof; the
// container is covered by its own test.
func TestEveryFlippedByteOfAFileIsRefused(t *testing.T) {
	w := newWorld(t, nil)
	pack, trust := w.pack(), w.trust()
	// The hint of a bundle names no key that is believed, and the case of an
	// escape or the white space of a bundle are no words of anybody: what was
	// signed is the payload. They cannot change what is shown.
	harmless := func(path string, at int) bool {
		if !strings.HasSuffix(path, ".bundle.json") {
			return false
		}
		content := pack[path]
		hint := bytes.Index(content, []byte(`"hint":"`)) + len(`"hint":"`)
		return at >= hint && at < hint+bytes.IndexByte(content[hint:], '"')
	}
	for _, path := range slices.Sorted(maps.Keys(pack)) {
		step := max(1, len(pack[path])/40)
		for at := 0; at < len(pack[path]); at += step {
			changed := maps.Clone(pack)
			changed[path] = bytes.Clone(pack[path])
			changed[path][at] ^= 1
			if _, err := changed.Verify(trust); err == nil {
				require.True(t, harmless(path, at), "%s, byte %d: %q", path, at, pack[path][max(0, at-20):min(len(pack[path]), at+20)])
			}
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	without := func(path string) func(*world, Pack) { return func(_ *world, p Pack) { delete(p, path) } }
	for name, tt := range map[string]struct {
		before func(*world)
		after  func(*world, Pack)
		want   error
		says   string
	}{
		"another log":          {after: func(w *world, _ Pack) { w.log = newWorld(w.t, nil).log }, want: audit.ErrSignature},
		"another fabric's key": {after: func(w *world, _ Pack) { w.fabric = newKey(w.t) }, want: artifact.ErrUntrusted},
		"no vote of the second": {
			after: without(voteFile(1)), want: ErrChain, says: "leave the ballot pending",
		},
		"no request":      {after: without(requestFile), want: ErrChain, says: "2 people had to approve"},
		"no first round":  {after: without(roundFile(0)), want: ErrChain, says: "rounds/000000"},
		"no card":         {after: without(readmeFile), want: ErrChain, says: "MODEL_CARD.md"},
		"a file too many": {after: func(_ *world, p Pack) { p["x"] = nil }, want: ErrChain, says: "nothing stands for x"},
		"the same person twice": {
			after: func(_ *world, p Pack) { p[voteFile(1)] = p[voteFile(0)] }, want: ErrChain, says: "pending",
		},
		"a leaf short": {
			after: func(w *world, p Pack) {
				short, err := artifact.Canonical(w.Leaves[:len(w.Leaves)-1])
				require.NoError(w.t, err)
				p[leavesFile] = short
			}, want: ErrChain, says: "promotion.applied",
		},
		"the requester's own vote": {
			before: func(w *world) { w.req.Requester = "ann" }, want: approval.ErrOwnVote,
		},
		"fewer people than the policy asks for": {
			before: func(w *world) { w.req.Need, w.req.Seats, w.people = 1, w.req.Seats[:1], w.people[:1] }, want: ErrChain, says: "fewer people",
		},
		"an exhibit that nobody has": {
			before: func(w *world) { w.plan.Version.Bundle = digest("elsewhere") }, want: ErrChain, says: "bundle over the package",
		},
		"no scorecard": {after: without(scorecardFile), want: ErrChain, says: "scorecard.json"},
		"another scorecard": {
			after: func(_ *world, p Pack) { p[scorecardFile] = []byte(`{"status":"PASS"}`) }, want: ErrChain, says: "not the scorecard of the log",
		},
		"an earlier scorecard": {
			before: func(w *world) { w.Scorecard = []byte(`{"status":"FAIL"}`) }, want: ErrChain, says: "not the scorecard of the log",
		},
		"a scorecard that the log knows nothing of": {
			before: func(w *world) {
				w.pending = slices.DeleteFunc(w.pending, func(l audit.Leaf) bool { return l.Kind == judgedKind })
			}, want: ErrChain, says: "nothing stands for package/scorecard.json",
		},
		"other weights than were trained": {
			before: func(w *world) { w.plan.Version.Weights = digest("weights1") }, want: ErrChain, says: "other weights",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tt.before)
			p := w.pack()
			if tt.after != nil {
				tt.after(w, p)
			}
			_, err := p.Verify(w.trust())
			require.ErrorIs(t, err, tt.want)
			require.ErrorContains(t, err, tt.says)
		})
	}
}
