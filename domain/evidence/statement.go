package evidence

import "github.com/atom-fabric/fabric/domain/artifact"

// A Statement is the predicate about a pack. The pack proves itself; the
// statement says that the fabric has nothing else to show for this promotion.
type Statement struct {
	Tenant      string          `json:"tenant"`
	Promotion   string          `json:"promotion"`
	Model       string          `json:"model"`
	Environment string          `json:"environment"`
	Version     int             `json:"version"`
	Plan        artifact.Digest `json:"plan"`
	Package     artifact.Digest `json:"package"`
}
