package postgres

import (
	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
)

// The compiler checks that every port is kept.
var (
	_ activities.Rounds    = Rounds{}
	_ activities.Consents  = Consents{}
	_ activities.Versions  = Versions{}
	_ activities.Snapshots = Snapshots{}
	_ activities.Actions   = Actions{}
	_ activities.Ledger    = Ledger{}
	_ activities.Dossiers  = Dossiers{}
	_ activities.Replicas  = ModelReplicas{}
	_ activities.Points    = RecoveryPoints{}
	_ activities.Outbox    = Outbox{}
	_ activities.Traffic   = Decisions{}
	_ activities.Grants    = Rollouts{}
	_ activities.Canaries  = Rollouts{}
	_ activities.Cards     = Rollouts{}
	_ activities.Studies   = Studies{}

	_ activities.Statistics = Statistics{}
	_ api.Statistics        = Statistics{}

	_ api.Idempotency = Idempotency{}
	_ api.Catalog     = Catalog{}
	_ api.Consents    = Catalog{}
	_ api.Runs        = Runs{}
	_ api.Budgets     = Budgets{}
	_ api.Sites       = Sites{}
	_ api.Models      = Models{}
	_ api.Replicas    = ModelReplicas{}
	_ api.Recoveries  = RecoveryPoints{}
	_ api.Actions     = Actions{}
	_ api.Approvals   = Approvals{}
	_ api.Snapshots   = Snapshots{}
	_ api.AuditLog    = AuditLog{}
	_ api.Decisions   = Decisions{}
	_ api.Revocations = Revocations{}
	_ api.Scorecards  = Scorecards{}
	_ api.Studies     = StudyViews{}
)
