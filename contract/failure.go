package contract

// Kinds of final failure, as workflows see them. They are part of the wire.
const (
	NoConsent  = "NoConsent"  // a feature of the round is not consented
	NoSites    = "NoSites"    // fewer sites are enrolled than the quorum
	BadUpdate  = "BadUpdate"  // an update that cannot be aggregated
	BadPackage = "BadPackage" // a package that does not verify
	StalePlan  = "StalePlan"  // what a plan observed has moved
	BadPlan    = "BadPlan"    // a plan that cannot be applied as it is
)
