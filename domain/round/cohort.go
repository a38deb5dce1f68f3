package round

import (
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/site"
)

// CohortOf counts the sites of each region, regions by name.
func CohortOf(sites []site.Site) []Cohort {
	counts := map[string]int{}
	for _, s := range sites {
		counts[s.Region]++
	}
	var cohort []Cohort
	for region, n := range counts {
		cohort = append(cohort, Cohort{Region: region, Sites: n})
	}
	slices.SortFunc(cohort, func(a, b Cohort) int { return strings.Compare(a.Region, b.Region) })
	return cohort
}

// CohortRoot commits to who takes part without saying it: the digest of the
// sorted "tenant/site" names, each followed by a line feed.
func CohortRoot(sites []site.Site) artifact.Digest {
	names := make([]string, len(sites))
	for i, s := range sites {
		names[i] = s.Tenant + "/" + s.ID + "\n"
	}
	slices.Sort(names)
	return artifact.DigestOf([]byte(strings.Join(names, "")))
}
