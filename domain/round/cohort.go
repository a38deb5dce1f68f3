package round

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/site"
)

// A Seat is a site's place in a round: the group that it is summed in, and the
// region that makes the sum.
type Seat struct {
	site.Site
	Group string
	Host  string
}

// CohortOf counts the sites of each region, regions by name.
func CohortOf(sites []site.Site) []Cohort { return Groups(Plain(sites)) }

// Plain seats every site in its own region.
func Plain(sites []site.Site) []Seat {
	seats := make([]Seat, len(sites))
	for i, s := range sites {
		seats[i] = Seat{Site: s, Group: s.Region, Host: s.Region}
	}
	return seats
}

// Secured seats every site in its own region where that has [MinBucket] sites;
// a sum over fewer hides nobody, so the sites of smaller regions sit together,
// in the largest of those regions, or, while they are still too few, in the
// largest of all. Regions of one size go by name. What crosses the border then
// is masked.
func Secured(sites []site.Site) []Seat {
	count := map[string]int{}
	for _, s := range sites {
		count[s.Region]++
	}
	var small, large []string
	scattered := 0
	for region, n := range count {
		if n < MinBucket {
			small, scattered = append(small, region), scattered+n
		} else {
			large = append(large, region)
		}
	}
	bySize := func(a, b string) int { return cmp.Or(cmp.Compare(count[b], count[a]), strings.Compare(a, b)) }
	slices.SortFunc(small, bySize)
	slices.SortFunc(large, bySize)
	seats := Plain(sites)
	if scattered == 0 {
		return seats
	}
	host := small[0]
	if scattered < MinBucket && len(large) > 0 {
		host = large[0]
	}
	for i, s := range seats {
		if count[s.Region] < MinBucket {
			seats[i].Group, seats[i].Host = host, host
		}
	}
	return seats
}

// Bucketed splits every group into the buckets that it is given: names of
// sites as "tenant/site". Bucket i of group eu is called eu.i; a group of one
// bucket keeps its name.
func Bucketed(seats []Seat, group string, buckets [][]string) []Seat {
	out := slices.Clone(seats)
	for i, s := range out {
		if s.Group != group || len(buckets) < 2 {
			continue
		}
		for b, names := range buckets {
			if slices.Contains(names, s.Tenant+"/"+s.ID) {
				out[i].Group = fmt.Sprintf("%s.%d", group, b)
			}
		}
	}
	return out
}

// Groups counts the sites of each group, groups by name.
func Groups(seats []Seat) []Cohort {
	counts := map[string]int{}
	hosts := map[string]string{}
	for _, s := range seats {
		counts[s.Group]++
		hosts[s.Group] = s.Host
	}
	var cohort []Cohort
	for group, n := range counts {
		c := Cohort{Region: hosts[group], Sites: n}
		if group != c.Region {
			c.Group = group
		}
		cohort = append(cohort, c)
	}
	slices.SortFunc(cohort, func(a, b Cohort) int { return strings.Compare(a.Name(), b.Name()) })
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
