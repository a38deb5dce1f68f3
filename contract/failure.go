package contract

// Kinds of final failure: the type of the application error that ends an
// activity, a workflow or an update. They are part of the wire.
const (
	NoConsent  = "NoConsent"  // a feature of the round is not consented
	NoSites    = "NoSites"    // fewer sites are enrolled than the quorum
	NoBudget   = "NoBudget"   // a feature's privacy budget does not allow the round
	BadUpdate  = "BadUpdate"  // an update that cannot be aggregated
	BadPackage = "BadPackage" // a package that does not verify
	StalePlan  = "StalePlan"  // what a plan observed has moved
	OldPlan    = "OldPlan"    // the proposal that a plan came from has expired
	BadPlan    = "BadPlan"    // a plan that cannot be applied as it is
	NotActive  = "NotActive"  // a region did not run in time what it was given
	NotHeld    = "NotHeld"    // a region's mirror does not hold the verified package
	NoGrant    = "NoGrant"    // a write without a grant for what it would write

	NoQuorum     = "NoQuorum"     // a round ended below its quorum of sites or regions
	RoundFailed  = "RoundFailed"  // a round failed for another reason
	RunFailed    = "RunFailed"    // a run ended with a failed round
	VoteRefused  = "VoteRefused"  // vote-now: the vote was looked at and does not count
	BallotClosed = "BallotClosed" // vote-now: the ballot is over, or takes no more votes
)
