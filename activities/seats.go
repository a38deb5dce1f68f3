package activities

import (
	"fmt"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
)

// A seating is who takes part in a round, and in which group.
type seating struct {
	sites   []site.Site
	seats   []round.Seat
	cohort  []round.Cohort
	secured bool
	seed    uint64 // of the draws; 0 when nothing was drawn
}

// seated draws the sites of a round from those that are enrolled, and puts
// them into groups: those of their regions, in the open or so large that they
// hide one another, and for a robust rule over hidden updates into buckets. It
// is a function of its arguments: a second run seats the same sites the same.
// Final: [contract.NoSites].
func seated(in contract.RoundInput, enrolled []site.Site) (seating, error) {
	p := in.Params
	regions := len(round.CohortOf(enrolled))
	if len(enrolled) < max(p.Quorum, 1) || regions < max(p.QuorumRegions, 1) {
		return seating{}, permanent(contract.NoSites, fmt.Errorf("%d sites in %d regions are enrolled, %d in %d are needed: %w",
			len(enrolled), regions, p.Quorum, p.QuorumRegions, ErrSites))
	}
	s := seating{sites: enrolled}
	if p.Sampled(in.Kind) {
		s.seed = round.SampleSeed(p.Seed, in.Number)
		s.sites = round.Sample(enrolled, p, s.seed)
	}
	if s.secured = p.Secure.Secured(len(s.sites)); s.secured && len(s.sites) < round.MinBucket {
		return seating{}, permanent(contract.NoSites, fmt.Errorf("%d sites take part, and secure aggregation hides nobody among fewer than %d: %w",
			len(s.sites), round.MinBucket, ErrSites))
	}
	s.seats = round.Plain(s.sites)
	if s.secured {
		s.seats = round.Secured(s.sites)
	}
	vectors := len(s.sites)
	if p.Strategy.Robust() && in.Kind == round.Train {
		if s.secured {
			s.seed = round.SampleSeed(p.Seed, in.Number)
			if err := s.bucket(max(p.Strategy.BucketSites, round.MinBucket)); err != nil {
				return seating{}, err
			}
			vectors = len(round.Groups(s.seats))
		}
		if err := p.Strategy.Feasible(vectors); err != nil {
			return seating{}, permanent(contract.NoSites, fmt.Errorf("%s over %d vectors of %d sites: %w", p.Strategy.Rule, vectors, len(s.sites), err))
		}
	}
	s.cohort = round.Groups(s.seats)
	return s, nil
}

// bucket splits every group that has room for two buckets.
func (s *seating) bucket(size int) error {
	members := map[string][]string{}
	for _, seat := range s.seats {
		members[seat.Group] = append(members[seat.Group], seat.Tenant+"/"+seat.ID)
	}
	for _, group := range round.Groups(s.seats) {
		names := members[group.Name()]
		if len(names) < 2*size {
			continue // one bucket, which is the group
		}
		buckets, err := aggregate.Buckets(names, size, fmt.Appendf(nil, "bucket\n%d\n%s", s.seed, group.Name()))
		if err != nil {
			return permanent(contract.NoSites, err)
		}
		s.seats = round.Bucketed(s.seats, group.Name(), buckets)
	}
	return nil
}
