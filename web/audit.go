package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
)

// auditPage is a stretch of the log: of the reader's own leaves, the newest
// first, or of everybody's in their order.
type auditPage struct {
	Rows             []auditRow
	Match            string
	From             int64
	Size             int64
	Root             string
	Origin           string
	Whole            bool   // everybody's leaves
	Further          bool   // none were found so far, and there is more to look through
	Next             string // address of the later leaves
	Earlier          string // address of the earlier ones
	Hidden           int    // leaves of others in it
	CheckpointSigned bool
}

// An auditRow is a leaf; of another tenant's only the hash is known.
type auditRow struct {
	Index int64
	Hash  string
	Leaf  *audit.Leaf
}

const leavesShown = 50

func auditLog(v *visit) error {
	head, err := v1.Fetch[v1.Checkpoint](v.api.AuditCheckpoint(v.ctx(), asJSON))
	if err != nil {
		return err
	}
	p := auditPage{Match: strings.TrimSpace(v.query("match")), Size: head.Size, Root: head.Root, Origin: head.Origin, CheckpointSigned: head.Note != ""}
	from, ordered := logPlace(v, "from")
	if p.From = from; p.Match == "" && !ordered {
		err = v.ownLeaves(&p)
	} else {
		p.Whole = p.Match == ""
		err = v.leavesFrom(&p)
	}
	if err != nil {
		return err
	}
	return v.render("audit", "Audit log", p)
}

// logPlace returns a place in the log that an address names.
func logPlace(v *visit, name string) (int64, bool) {
	at, err := strconv.ParseInt(v.query(name), 10, 64)
	if err != nil || at < 0 {
		return 0, false
	}
	return at, true
}

// leavesFrom reads leaves of everybody, or those that match, from a place on.
func (v *visit) leavesFrom(p *auditPage) error {
	got, err := v1.Fetch[v1.LeafPage](v.api.AuditLeaves(v.ctx(), &v1.AuditLeavesParams{From: p.From, Limit: leavesShown, Match: p.Match}))
	if err != nil {
		return err
	}
	link := "?" + filters("match", p.Match) + "from="
	if got.Next > 0 && (p.Match != "" || got.Next < p.Size) {
		p.Next = link + strconv.FormatInt(got.Next, 10)
	}
	if p.Match == "" && p.From > 0 {
		p.Earlier = link + strconv.FormatInt(max(0, p.From-leavesShown), 10)
	}
	return p.add(got)
}

// ownLeaves reads leaves that the reader may read: the newest, those before a
// place, or those from a place on. Each call of the API looks through so much of
// the log and no more; a page asks a few times, then says that there is more.
func (v *visit) ownLeaves(p *auditPage) error {
	after, upwards := logPlace(v, "after")
	before, inside := logPlace(v, "before")
	if !inside || before == 0 {
		before = max(p.Size, 1)
	}
	ask := v1.AuditLeavesParams{Own: true, Before: before, Limit: leavesShown}
	if upwards {
		ask = v1.AuditLeavesParams{Own: true, From: after, Limit: leavesShown}
	}
	var got v1.LeafPage
	for range looks {
		var err error
		if got, err = v1.Fetch[v1.LeafPage](v.api.AuditLeaves(v.ctx(), &ask)); err != nil {
			return err
		}
		if len(got.Items) > 0 || got.Next == 0 {
			break
		}
		if upwards {
			ask.From = got.Next
		} else {
			ask.Before = got.Next
		}
	}
	p.Further = len(got.Items) == 0 && got.Next > 0
	earlier, later := got.Next, before
	if upwards {
		slices.Reverse(got.Items)
		earlier, later = after, got.Next
	}
	if earlier > 0 {
		p.Earlier = "?before=" + strconv.FormatInt(earlier, 10)
	}
	if later > 0 && later < p.Size {
		p.Next = "?after=" + strconv.FormatInt(later, 10)
	}
	return p.add(got)
}

// looks is how often a page asks for leaves of its reader's when it finds none.
const looks = 3

func (p *auditPage) add(got v1.LeafPage) error {
	for _, l := range got.Items {
		row, err := auditRowOf(l)
		if err != nil {
			return err
		}
		if row.Leaf == nil {
			p.Hidden++
		}
		p.Rows = append(p.Rows, row)
	}
	return nil
}

// asJSON asks for the document where the API has a text too.
func asJSON(_ context.Context, req *http.Request) error {
	req.Header.Set("Accept", "application/json")
	return nil
}

func auditRowOf(l v1.Leaf) (auditRow, error) {
	row := auditRow{Index: l.Index, Hash: l.Hash}
	if len(l.Leaf) == 0 || bytes.Equal(l.Leaf, []byte("null")) {
		return row, nil
	}
	row.Leaf = &audit.Leaf{}
	if err := json.Unmarshal(l.Leaf, row.Leaf); err != nil {
		return row, fmt.Errorf("leaf %d: %w", l.Index, err)
	}
	return row, nil
}

// leafPage is one leaf with its proof.
type leafPage struct {
	Row    auditRow
	Bytes  string // of the leaf, exactly; of another tenant's none
	Proof  v1.Proof
	Proved string // what the server says of it, for readers without a script
	Wrong  string
}

func leaf(v *visit) error {
	index, err := strconv.ParseInt(v.path("index"), 10, 64)
	if err != nil || index < 0 {
		return errNoPage
	}
	got, err := v1.Fetch[v1.LeafPage](v.api.AuditLeaves(v.ctx(), &v1.AuditLeavesParams{From: index, Limit: 1}))
	if err != nil {
		return err
	}
	if len(got.Items) == 0 || got.Items[0].Index != index {
		return errNoPage
	}
	p := leafPage{Bytes: string(got.Items[0].Leaf)}
	if p.Row, err = auditRowOf(got.Items[0]); err != nil {
		return err
	}
	if p.Proof, err = v1.Fetch[v1.Proof](v.api.AuditProof(v.ctx(), &v1.AuditProofParams{Index: index})); err != nil {
		return err
	}
	p.Proved, p.Wrong = judge(p)
	return v.render("leaf", fmt.Sprintf("Leaf %d", index), p)
}

// judge verifies the proof as this process can: it is the word of a server,
// which a reader's own computer can do without.
func judge(p leafPage) (good, bad string) {
	var hashes []audit.Hash
	for _, h := range p.Proof.Hashes {
		one, err := audit.HashOf(artifact.Digest(h))
		if err != nil {
			return "", "The proof holds something that is no hash."
		}
		hashes = append(hashes, one)
	}
	hash, err := audit.HashOf(artifact.Digest(p.Proof.Hash))
	root, rootErr := audit.HashOf(artifact.Digest(p.Proof.Root))
	if err != nil || rootErr != nil {
		return "", "The proof holds something that is no hash."
	}
	if p.Row.Leaf != nil {
		if own := audit.LeafHash([]byte(p.Bytes)); own != hash {
			return "", "The leaf is not what the proof is of."
		}
	}
	if err := audit.VerifyInclusion(p.Proof.Index, p.Proof.Size, hash, hashes, root); err != nil {
		return "", "The proof does not lead to the root of the log."
	}
	return fmt.Sprintf("The server found that leaf %d is in the log of %d leaves.", p.Proof.Index, p.Proof.Size), ""
}

// mostExported bounds one file; the next begins where it ends.
const mostExported = 100_000

// exportLog sends leaves of the log as a file, one a line, as the API gives them.
func exportLog(v *visit) error {
	from, err := strconv.ParseInt(v.query("from"), 10, 64)
	if err != nil || from < 0 {
		from = 0
	}
	match := strings.TrimSpace(v.query("match"))
	next, begun := from, false
	to := http.NewResponseController(v.w)
	for sent := 0; sent < mostExported; {
		got, err := v1.Fetch[v1.LeafPage](v.api.AuditLeaves(v.ctx(), &v1.AuditLeavesParams{From: next, Limit: 200, Match: match}))
		if err != nil && begun {
			panic(http.ErrAbortHandler) // a file that ends early must not look whole
		}
		if err != nil {
			return err
		}
		if !begun {
			begun = true
			v.w.Header().Set("Content-Type", "application/x-ndjson")
			v.w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="audit-from-%d.ndjson"`, from))
			v.w.WriteHeader(http.StatusOK)
		}
		_ = to.SetWriteDeadline(time.Now().Add(sendWithin)) // a test's writer knows none
		lines := json.NewEncoder(v.w)
		for _, l := range got.Items {
			if err := lines.Encode(l); err != nil {
				return nil // the reader left
			}
		}
		sent += len(got.Items)
		if got.Next == 0 || len(got.Items) == 0 {
			return nil
		}
		next = got.Next
	}
	return nil
}
