//go:build chaos

package chaos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/secagg"
	"github.com/atom-fabric/fabric/tests/harness"
)

// A wireLog is all that was ever said about shares in the clear.
type wireLog struct {
	requests []secagg.UnmaskRequest // given to a site, or only made
	answers  []secagg.Unmasking
	sets     []secagg.SurvivorSet // committed
}

// Why a log is refused.
var (
	errBoth    = errors.New("both kinds of share of one peer")
	errUnasked = errors.New("a share that nobody asked for")
	errTwoSets = errors.New("two survivor sets of one group")
	errListed  = errors.New("other members than in the survivor set")
)

// A peer is one member of one aggregation.
type peer struct {
	run   string
	round int
	group string
	index int
}

func (p peer) String() string {
	return fmt.Sprintf("%s/%d/%s member %d", p.run, p.round, p.group, p.index)
}

func peerOf(h secagg.Header, index int) peer { return peer{h.Run, h.Round, h.Group, index} }

// check says whether anybody was ever asked for both kinds of share of one
// peer, or gave them. It takes all sites together: who asks one site for the
// one kind and another for the other kind is refused too.
func (l wireLog) check() error {
	seeds, keys := map[peer]bool{}, map[peer]bool{}
	for _, r := range l.requests {
		for _, i := range r.Seeds {
			seeds[peerOf(r.Header, i)] = true
		}
		for _, i := range r.Keys {
			keys[peerOf(r.Header, i)] = true
		}
	}
	var errs []error
	refuse := func(p peer, why error) { errs = append(errs, fmt.Errorf("%s: %w", p, why)) }
	for p := range seeds {
		if keys[p] {
			refuse(p, errBoth)
		}
	}
	for _, a := range l.answers {
		for _, s := range a.Seeds {
			if p := peerOf(a.Header, s.Of); !seeds[p] {
				refuse(p, errUnasked)
			}
		}
		for _, s := range a.Keys {
			if p := peerOf(a.Header, s.Of); !keys[p] {
				refuse(p, errUnasked)
			}
		}
	}
	sets := map[peer]secagg.SurvivorSet{}
	for _, s := range l.sets {
		p := peerOf(s.Header, 0)
		if first, twice := sets[p]; twice && !slices.Equal(first.Survivors, s.Survivors) {
			refuse(p, errTwoSets)
		}
		sets[p] = s
	}
	for _, r := range l.requests {
		p := peerOf(r.Header, 0)
		if s, ok := sets[p]; !ok || !slices.Equal(s.Survivors, r.Seeds) || slices.ContainsFunc(r.Keys, func(i int) bool { return slices.Contains(s.Survivors, i) }) {
			refuse(p, errListed)
		}
	}
	return errors.Join(errs...)
}

// A wireCount is how much a log holds.
type wireCount struct{ groups, given, made, answers, seeds, keys int }

// readWire collects the log of a system: what its rows say that sites were
// given and have answered, and beside it every request to unmask that is among
// the blobs, also one that was made, stored and never given to anybody.
func readWire(t *testing.T, s *harness.System, p *trap) (wireLog, wireCount) {
	t.Helper()
	var log wireLog
	var n wireCount
	given := map[artifact.Digest]bool{}
	for _, d := range column(t, p, `select inbox ->> 'digest' from fabric.stage_member where stage = 'unmask'`) {
		var r secagg.UnmaskRequest
		blob(t, s, d, &r)
		require.Equal(t, secagg.StageUnmask, r.Header.Stage)
		log.requests = append(log.requests, r)
		given[d] = true
		n.given++
	}
	for _, d := range column(t, p, `select message ->> 'digest' from fabric.submission where stage = 'unmask' and reason = ''`) {
		var a secagg.Unmasking
		blob(t, s, d, &a)
		require.Equal(t, secagg.StageUnmask, a.Header.Stage)
		log.answers = append(log.answers, a)
		n.answers++
		n.seeds, n.keys = n.seeds+len(a.Seeds), n.keys+len(a.Keys)
	}
	for _, d := range column(t, p, `select set ->> 'digest' from fabric.survivors`) {
		var set secagg.SurvivorSet
		blob(t, s, d, &set)
		require.Equal(t, secagg.StageCheck, set.Header.Stage)
		log.sets = append(log.sets, set)
		n.groups++
	}
	err := filepath.WalkDir(s.Path("blobs", "sha256"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		var r secagg.UnmaskRequest
		if err != nil || !bytes.Contains(text, []byte(`"stage":"unmask"`)) || artifact.DecodeStrict(text, &r) != nil {
			return err
		}
		if !given[artifact.Digest("sha256:"+filepath.Base(path))] {
			log.requests = append(log.requests, r)
			n.made++
		}
		return nil
	})
	require.NoError(t, err)
	return log, n
}

func column(t *testing.T, p *trap, sql string) []artifact.Digest {
	t.Helper()
	rows, err := p.conn.Query(t.Context(), sql)
	require.NoError(t, err)
	found, err := pgx.CollectRows(rows, pgx.RowTo[artifact.Digest])
	require.NoError(t, err)
	return found
}

// blob reads a message as it is kept.
func blob(t *testing.T, s *harness.System, digest artifact.Digest, into any) {
	t.Helper()
	text, err := os.ReadFile(s.Path("blobs", "sha256", digest.Hex()[:2], digest.Hex()))
	require.NoError(t, err)
	require.Equal(t, digest, artifact.DigestOf(text))
	require.NoError(t, json.Unmarshal(text, into))
}

// The checker of the fault matrix is able to fail.
func TestForgedWireLogsAreRefused(t *testing.T) {
	header := func(group string) secagg.Header {
		return secagg.Header{Protocol: secagg.Protocol, Run: "run-1", Round: 2, Group: group, Stage: secagg.StageUnmask}
	}
	asked := func(group string, seeds, keys []int) secagg.UnmaskRequest {
		return secagg.UnmaskRequest{Header: header(group), Seeds: seeds, Keys: keys}
	}
	open := func(of ...int) (out []secagg.OpenShare) {
		for _, i := range of {
			out = append(out, secagg.OpenShare{Of: i})
		}
		return out
	}
	set := func(group string, survivors ...int) secagg.SurvivorSet {
		h := header(group)
		h.Stage = secagg.StageCheck
		return secagg.SurvivorSet{Header: h, Survivors: survivors}
	}
	honest := wireLog{
		requests: []secagg.UnmaskRequest{asked("eu", []int{1, 2, 4, 5}, []int{3}), asked("eu", []int{1, 2, 4, 5}, []int{3}), asked("us", []int{1, 2, 3}, nil)},
		answers:  []secagg.Unmasking{{Header: header("eu"), Seeds: open(1, 2, 4, 5), Keys: open(3)}, {Header: header("us"), Seeds: open(1, 2, 3)}},
		sets:     []secagg.SurvivorSet{set("eu", 1, 2, 4, 5), set("us", 1, 2, 3)},
	}
	require.NoError(t, honest.check(), "the same index in another group is another peer")
	tests := []struct {
		name  string
		forge func(*wireLog)
		want  error
	}{
		{"one site is asked for both", func(l *wireLog) { l.requests[0] = asked("eu", []int{1, 2, 3, 4, 5}, []int{3}) }, errBoth},
		{"two sites are asked for one kind each", func(l *wireLog) { l.requests[1] = asked("eu", []int{1, 2, 3, 4}, []int{5}) }, errBoth},
		{"a retry asks for the other kind", func(l *wireLog) { l.requests = append(l.requests, asked("us", []int{1, 2}, []int{3})) }, errBoth},
		{"a site gives the other kind too", func(l *wireLog) { l.answers[0].Keys = open(3, 4) }, errUnasked},
		{"a site gives the seed of a dead peer", func(l *wireLog) { l.answers[0].Seeds = open(1, 2, 3, 4, 5) }, errUnasked},
		{"a second set of survivors is committed", func(l *wireLog) { l.sets = append(l.sets, set("us", 1, 2)) }, errTwoSets},
		{"seeds are asked of others than survived", func(l *wireLog) { l.requests[2].Seeds = []int{1, 2} }, errListed},
		{"keys are asked of a group without a set", func(l *wireLog) { l.requests = append(l.requests, asked("apac", nil, []int{1})) }, errListed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			forged := wireLog{slices.Clone(honest.requests), slices.Clone(honest.answers), slices.Clone(honest.sets)}
			tt.forge(&forged)
			require.ErrorIs(t, forged.check(), tt.want)
		})
	}
}
