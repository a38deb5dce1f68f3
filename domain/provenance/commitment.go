package provenance

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/round"
)

// Participants says how many took part, and commits to who without naming them.
type Participants struct {
	Enrolled   int    `json:"enrolled"` // sites that the cohort was drawn from
	Selected   int    `json:"selected"` // in the groups that delivered, like the next two
	Accepted   int    `json:"accepted"`
	Rejected   int    `json:"rejected"`
	Answers    int    `json:"answers"`    // taken in the stage that carries updates
	Commitment string `json:"commitment"` // RFC 6962 root over them, by site
}

// An Answer is what a site sent in the stage that carries its update. Bundle is
// the digest of the site's own signed answer, exactly as it sent it: it holds
// an ECDSA signature, which nobody can guess, so that the commitment does not
// give away who took part, while a site that kept its answer can show that it
// is in it.
type Answer struct {
	Site   string // "tenant/site"
	Bundle artifact.Digest
}

// Leaf returns the entry of an answer in the tree of its round: the site, a
// line feed, and the digest.
func (a Answer) Leaf() audit.Hash { return audit.LeafHash([]byte(a.Site + "\n" + string(a.Bundle))) }

// Commit returns the root of the RFC 6962 tree over the answers by ascending
// site, in the base64 of a C2SP checkpoint.
func Commit(answers []Answer) string {
	var tree audit.Tree
	for _, a := range sorted(answers) {
		tree, _ = tree.Append(a.Leaf())
	}
	return tree.Root().String()
}

func sorted(answers []Answer) []Answer {
	answers = slices.Clone(answers)
	slices.SortFunc(answers, func(a, b Answer) int { return cmp.Compare(a.Site, b.Site) })
	return answers
}

func participants(m round.Manifest, in Input) Participants {
	return Participants{
		Enrolled: m.Enrolled, Selected: in.Counts.Selected, Accepted: in.Counts.Accepted, Rejected: in.Counts.Rejected,
		Answers: len(in.Answers), Commitment: Commit(in.Answers),
	}
}

func decimal(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
