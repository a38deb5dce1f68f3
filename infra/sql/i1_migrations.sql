-- +goose Up
-- Fabric, migration 1: schema, roles, row-level security, audit log.
--
-- Runs by goose (fabric migrate up) and by hand on an empty database:
--   psql -v ON_ERROR_STOP=1 -1 -f infra/sql/i1_migrations.sql
-- Both leave the same catalogue. There is no way down: psql would run it.
-- docs/operations/database.md says who may run this and what each role may do.

-- ---------------------------------------------------------------- roles
-- Roles belong to the cluster, so they may be there already: made by another
-- database's migration, or by an operator whose login here may not make roles.

-- +goose StatementBegin
do $roles$
declare
  role_name text;
  may text := case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end;
begin
  foreach role_name in array array['fabric_owner', 'fabric_app', 'fabric_system'] loop
    if not exists (select from pg_roles where rolname = role_name) then
      begin
        execute format('create role %I nologin nosuperuser nocreatedb nocreaterole noreplication nobypassrls noinherit', role_name);
      exception
        when duplicate_object or unique_violation then null; -- another migration was first
        when insufficient_privilege then
          raise exception 'role % is missing and % may not create it', role_name, session_user
            using errcode = 'insufficient_privilege',
                  hint = 'As a superuser: create role fabric_owner nologin noinherit; the same for fabric_app and fabric_system; '
                         || format('grant fabric_owner, fabric_app, fabric_system to %I', session_user);
      end;
    end if;
    if not pg_has_role(session_user, role_name, may) then
      begin
        execute format('grant %I to %I', role_name, session_user);
      exception
        when unique_violation then null; -- granted by another migration meanwhile
        when insufficient_privilege then
          raise exception '% may not become %', session_user, role_name
            using errcode = 'insufficient_privilege', hint = format('As a superuser: grant %I to %I', role_name, session_user);
      end;
    end if;
  end loop;
  -- Nobody but the login makes objects here, and nobody sees what others left in schema public.
  execute 'revoke all on schema public from public';
  execute format('revoke temporary on database %I from public', current_database());
end
$roles$;
-- +goose StatementEnd

create schema fabric authorization fabric_owner;
set role fabric_owner;
grant usage on schema fabric to fabric_app, fabric_system;
comment on schema fabric is 'Everything the control plane of Fabric keeps.';

-- ---------------------------------------------------------------- words

create domain fabric.name as text check (value ~ '^[a-z0-9][a-z0-9._-]{0,62}$');
comment on domain fabric.name is 'Tenant, site, region, model or feature id.';
create domain fabric.digest as text check (value ~ '^sha256:[0-9a-f]{64}$');
comment on domain fabric.digest is 'Content by its SHA-256, as the OCI image specification writes it.';

-- +goose StatementBegin
create function fabric.tenant() returns text language sql stable parallel safe
  as $$ select nullif(current_setting('fabric.tenant', true), '') $$;
-- +goose StatementEnd
comment on function fabric.tenant() is 'Tenant of this transaction, set by set_config(''fabric.tenant'', ..., true); null for none. After one SET LOCAL the setting is '''' in later transactions, hence nullif.';

-- +goose StatementBegin
create function fabric.refuse_change() returns trigger language plpgsql
  as $$ begin raise exception '% of %.% is refused: it only grows', tg_op, tg_table_schema, tg_table_name using errcode = 'insufficient_privilege'; end $$;
-- +goose StatementEnd
comment on function fabric.refuse_change() is 'Guards a table that only grows, against owners too.';

create table fabric.schema_version (
  version    integer     not null primary key check (version > 0),
  applied_at timestamptz not null default now()
);
comment on table  fabric.schema_version            is 'Migrations that ran, whichever way: each inserts its number as its last change.';
comment on column fabric.schema_version.version    is 'N of infra/sql/iN_*.sql.';
comment on column fabric.schema_version.applied_at is 'When.';

-- ---------------------------------------------------------------- I.1.1 catalogue

create table fabric.feature (
  tenant        fabric.name   not null,
  id            fabric.name   not null,
  version       integer       not null check (version > 0),
  schema        json          not null,
  fingerprint   fabric.digest,
  registered_at timestamptz   not null default now(),
  simulated     boolean       not null default false,
  primary key (tenant, id, version)
);
comment on table  fabric.feature               is 'Versions of features. Never a row of data, only its shape.';
comment on column fabric.feature.tenant        is 'Owner.';
comment on column fabric.feature.id            is 'Feature id within the tenant.';
comment on column fabric.feature.version       is 'Counts from 1 as schema or fingerprint change.';
comment on column fabric.feature.schema        is 'JSON schema of the feature, as registered. json and not jsonb here and elsewhere: what people write may hold \u0000, which jsonb refuses.';
comment on column fabric.feature.fingerprint   is 'SHA-256 that the tenant computed over its feature definition.';
comment on column fabric.feature.registered_at is 'When this version was registered.';
comment on column fabric.feature.simulated     is 'Registered by a simulated caller.';

create table fabric.consent_event (
  tenant    fabric.name not null,
  feature   fabric.name not null,
  seq       integer     not null check (seq > 0),
  version   integer     not null,
  kind      text        not null check (kind in ('granted', 'refused', 'withdrawn')),
  purposes  text[]      not null default '{}',
  grantees  text[]      not null default '{}',
  actor     text        not null,
  at        timestamptz not null default now(),
  simulated boolean     not null default false,
  primary key (tenant, feature, seq),
  foreign key (tenant, feature, version) references fabric.feature (tenant, id, version)
);
comment on table  fabric.consent_event           is 'What tenants allowed and took back. The event with the highest seq of a feature is in force. Only grows.';
comment on column fabric.consent_event.tenant    is 'Owner of the feature.';
comment on column fabric.consent_event.feature   is 'Feature id.';
comment on column fabric.consent_event.seq       is 'Counts from 1 per feature.';
comment on column fabric.consent_event.version   is 'Newest version of the feature when the event was written.';
comment on column fabric.consent_event.kind      is 'granted, refused (registered without consent) or withdrawn.';
comment on column fabric.consent_event.purposes  is 'What it may be used for: train, evaluate, stats.';
comment on column fabric.consent_event.grantees  is 'Tenants that may use it; the owner always may.';
comment on column fabric.consent_event.actor     is 'Subject of the token.';
comment on column fabric.consent_event.at        is 'When.';
comment on column fabric.consent_event.simulated is 'Given by a simulated caller.';
create trigger only_grows before update or delete or truncate on fabric.consent_event for each statement execute function fabric.refuse_change();

-- ---------------------------------------------------------------- I.1.2 sites, runs, rounds

create table fabric.site (
  tenant      fabric.name   not null,
  id          fabric.name   not null,
  region      fabric.name   not null,
  public_key  text          not null,
  key         fabric.digest not null,
  enrolled_at timestamptz   not null default now(),
  seen_at     timestamptz   not null default now(),
  primary key (tenant, id),
  unique (tenant, key)
);
comment on table  fabric.site             is 'Places with private rows. A site is known by its key.';
comment on column fabric.site.tenant      is 'Organisation of the site.';
comment on column fabric.site.id          is 'Site id within the tenant.';
comment on column fabric.site.region      is 'Region that its updates are summed in; never changes.';
comment on column fabric.site.public_key  is 'PEM, SPKI, ECDSA P-256.';
comment on column fabric.site.key         is 'SHA-256 of the DER SPKI.';
comment on column fabric.site.enrolled_at is 'First enrolment.';
comment on column fabric.site.seen_at     is 'Last poll, to within five seconds.';

create table fabric.run (
  tenant       fabric.name not null,
  id           fabric.name not null,
  model        fabric.name not null,
  tenants      text[]      not null,
  params       jsonb       not null,
  requester    text        not null,
  status       text        not null default 'accepted' check (status in ('accepted', 'running', 'completed', 'stopped', 'failed')),
  cause        text        not null default '',
  metrics      jsonb       not null default '{}',
  weights      jsonb       not null default '{}',
  version      integer     not null default 0,
  rounds       integer     not null default 0,
  stop_asked   timestamptz,
  stop_reason  text        not null default '',
  created_at   timestamptz not null default now(),
  ended_at     timestamptz,
  simulated    boolean     not null default false,
  trace_id     text        not null default '',
  primary key (tenant, id),
  check ((ended_at is not null) = (status in ('completed', 'stopped', 'failed')))
);
create index run_model on fabric.run (tenant, model, ended_at);
comment on table  fabric.run             is 'Training runs.';
comment on column fabric.run.tenant      is 'Owner of the run and of its model.';
comment on column fabric.run.id          is 'run-<uuid v7>: sorts by time.';
comment on column fabric.run.model       is 'Model id.';
comment on column fabric.run.tenants     is 'Tenants whose sites take part.';
comment on column fabric.run.params      is 'round.Params.';
comment on column fabric.run.requester   is 'Subject of the token that asked.';
comment on column fabric.run.status      is 'accepted until its first round begins.';
comment on column fabric.run.cause       is 'Why it failed, for its owner.';
comment on column fabric.run.metrics     is 'round.Metrics of the last evaluation.';
comment on column fabric.run.weights     is 'Descriptor of the last weights.';
comment on column fabric.run.version     is 'Registered model version; 0 for none.';
comment on column fabric.run.rounds      is 'Rounds that were run.';
comment on column fabric.run.stop_asked  is 'When a stop was asked for.';
comment on column fabric.run.stop_reason is 'Why.';
comment on column fabric.run.created_at  is 'When it was accepted.';
comment on column fabric.run.ended_at    is 'When it ended.';
comment on column fabric.run.simulated   is 'Asked for by a simulated caller.';
comment on column fabric.run.trace_id    is 'The global trace id.';

create table fabric.round (
  tenant      fabric.name not null,
  run         fabric.name not null,
  number      integer     not null check (number >= 0),
  kind        text        not null check (kind in ('statistics', 'train', 'evaluate')),
  status      text        not null default 'open' check (status in ('open', 'closed', 'failed')),
  cause       text        not null default '',
  manifest    jsonb       not null,
  base        jsonb       not null default '{}',
  base_digest text generated always as (base ->> 'digest') stored,
  weights     jsonb       not null default '{}',
  metrics     jsonb       not null default '{}',
  regions     json        not null default '[]',
  started_at  timestamptz not null default now(),
  ended_at    timestamptz,
  primary key (tenant, run, number),
  foreign key (tenant, run) references fabric.run (tenant, id)
);
comment on table  fabric.round             is 'Rounds of runs.';
comment on column fabric.round.tenant      is 'Owner of the run.';
comment on column fabric.round.run         is 'Run id.';
comment on column fabric.round.number      is '0 is the statistics round.';
comment on column fabric.round.kind        is 'What the sites are asked to do.';
comment on column fabric.round.status      is 'open, closed or failed.';
comment on column fabric.round.cause       is 'Why it failed.';
comment on column fabric.round.manifest    is 'Descriptor of the signed round manifest.';
comment on column fabric.round.base        is 'Descriptor of the weights that the round starts from.';
comment on column fabric.round.base_digest is 'Digest of base: sites ask for weights by it.';
comment on column fabric.round.weights     is 'Descriptor of the weights after the round.';
comment on column fabric.round.metrics     is 'round.Metrics over all regions.';
comment on column fabric.round.regions     is 'Counts, drops and cause of each region, when the round ended.';
comment on column fabric.round.started_at  is 'When it was planned.';
comment on column fabric.round.ended_at    is 'When it ended.';

create table fabric.cohort (
  tenant      fabric.name not null,
  run         fabric.name not null,
  number      integer     not null,
  site_tenant fabric.name not null,
  site        fabric.name not null,
  region      fabric.name not null,
  primary key (tenant, run, number, site_tenant, site),
  foreign key (tenant, run, number) references fabric.round (tenant, run, number)
);
comment on table  fabric.cohort             is 'Who was asked in a round. Nobody else may answer.';
comment on column fabric.cohort.tenant      is 'Owner of the run.';
comment on column fabric.cohort.run         is 'Run id.';
comment on column fabric.cohort.number      is 'Round number.';
comment on column fabric.cohort.site_tenant is 'Tenant of the site.';
comment on column fabric.cohort.site        is 'Site id.';
comment on column fabric.cohort.region      is 'Region that the site answers in.';

create table fabric.stage (
  tenant    fabric.name not null,
  run       fabric.name not null,
  number    integer     not null,
  stage     text        not null default 'update' check (stage in ('update')),
  region    fabric.name not null,
  kind      text        not null check (kind in ('statistics', 'train', 'evaluate')),
  model     fabric.name not null,
  status    text        not null default 'open' check (status in ('open', 'closed')),
  manifest  jsonb       not null,
  signature jsonb       not null,
  sites     integer     not null check (sites >= 0),
  trace_id  text        not null default '',
  deadline  timestamptz not null,
  opened_at timestamptz not null default now(),
  closed_at timestamptz,
  primary key (tenant, run, number, stage, region),
  foreign key (tenant, run, number) references fabric.round (tenant, run, number)
);
create index stage_open on fabric.stage (tenant, run, number) where status = 'open';
comment on table  fabric.stage           is 'A region''s part of a round: what its sites are asked, and until when.';
comment on column fabric.stage.tenant    is 'Owner of the run.';
comment on column fabric.stage.run       is 'Run id.';
comment on column fabric.stage.number    is 'Round number.';
comment on column fabric.stage.stage     is 'Step within the round.';
comment on column fabric.stage.region    is 'Region.';
comment on column fabric.stage.kind      is 'Kind of the round.';
comment on column fabric.stage.model     is 'Model id.';
comment on column fabric.stage.status    is 'A closed stage takes no more submissions.';
comment on column fabric.stage.manifest  is 'Descriptor of the round manifest.';
comment on column fabric.stage.signature is 'Descriptor of the bundle over it.';
comment on column fabric.stage.sites     is 'How many sites the region was asked with.';
comment on column fabric.stage.trace_id  is 'The global trace id.';
comment on column fabric.stage.deadline  is 'When quorum decides.';
comment on column fabric.stage.opened_at is 'When sites could first see it.';
comment on column fabric.stage.closed_at is 'When it stopped taking submissions.';

create table fabric.submission (
  tenant      fabric.name   not null,
  run         fabric.name   not null,
  number      integer       not null,
  stage       text          not null default 'update',
  site_tenant fabric.name   not null,
  site        fabric.name   not null,
  region      fabric.name   not null,
  update      jsonb         not null default '{}',
  metrics     jsonb         not null,
  bundle      jsonb         not null default '{}',
  statement   fabric.digest not null,
  reason      text          not null default '',
  at          timestamptz   not null default now(),
  primary key (tenant, run, number, stage, site_tenant, site),
  foreign key (tenant, run, number, stage, region) references fabric.stage (tenant, run, number, stage, region),
  foreign key (tenant, run, number, site_tenant, site) references fabric.cohort (tenant, run, number, site_tenant, site)
);
comment on table  fabric.submission             is 'A site''s one answer in a stage. Only grows.';
comment on column fabric.submission.tenant      is 'Owner of the run.';
comment on column fabric.submission.run         is 'Run id.';
comment on column fabric.submission.number      is 'Round number.';
comment on column fabric.submission.stage       is 'Step within the round.';
comment on column fabric.submission.site_tenant is 'Tenant of the site.';
comment on column fabric.submission.site        is 'Site id.';
comment on column fabric.submission.region      is 'Region of the stage.';
comment on column fabric.submission.update      is 'Descriptor of the update; {} for an evaluation.';
comment on column fabric.submission.metrics     is 'round.Metrics of the site.';
comment on column fabric.submission.bundle      is 'Descriptor of the site''s signed statement.';
comment on column fabric.submission.statement   is 'Digest of the statement: the answer''s identity.';
comment on column fabric.submission.reason      is 'Why it was refused; empty when it counts.';
comment on column fabric.submission.at          is 'When it arrived.';
create trigger only_grows before update or delete or truncate on fabric.submission for each statement execute function fabric.refuse_change();

-- ---------------------------------------------------------------- I.1.3 models

create table fabric.model (
  tenant     fabric.name not null,
  id         fabric.name not null,
  versions   integer     not null default 0 check (versions >= 0),
  tuned      jsonb       not null default '{}',
  created_at timestamptz not null default now(),
  primary key (tenant, id)
);
comment on table  fabric.model            is 'Models. The row is what a new version number is taken from.';
comment on column fabric.model.tenant     is 'Owner.';
comment on column fabric.model.id         is 'Model id.';
comment on column fabric.model.versions   is 'Newest version number.';
comment on column fabric.model.tuned      is 'Training parameters that a tuning set, parameter to decimal text.';
comment on column fabric.model.created_at is 'When it was first heard of.';

create table fabric.model_version (
  tenant         fabric.name not null,
  model          fabric.name not null,
  number         integer     not null check (number > 0),
  repository     text        not null,
  package        jsonb       not null,
  package_digest text        not null generated always as (package ->> 'digest') stored,
  weights        jsonb       not null default '{}',
  bundle         jsonb       not null,
  run            text        not null default '',
  round          integer     not null default 0,
  metrics        jsonb       not null default '{}',
  registered_at  timestamptz not null default now(),
  simulated      boolean     not null default false,
  primary key (tenant, model, number),
  unique (tenant, model, package_digest),
  foreign key (tenant, model) references fabric.model (tenant, id)
);
comment on table  fabric.model_version                is 'Verified packages that may be promoted. Only grows.';
comment on column fabric.model_version.tenant         is 'Owner.';
comment on column fabric.model_version.model          is 'Model id.';
comment on column fabric.model_version.number         is 'Counts from 1 per model.';
comment on column fabric.model_version.repository     is 'OCI repository.';
comment on column fabric.model_version.package        is 'Descriptor of the OCI manifest.';
comment on column fabric.model_version.package_digest is 'Its digest: a package is registered once per model.';
comment on column fabric.model_version.weights        is 'Descriptor of the weights.';
comment on column fabric.model_version.bundle         is 'Descriptor of the bundle over the package.';
comment on column fabric.model_version.run            is 'Run that made it; empty for an upload.';
comment on column fabric.model_version.round          is 'Round that made it.';
comment on column fabric.model_version.metrics        is 'round.Metrics of its evaluation.';
comment on column fabric.model_version.registered_at  is 'When.';
comment on column fabric.model_version.simulated      is 'Made for a simulated caller: never production.';
create trigger only_grows before update or delete or truncate on fabric.model_version for each statement execute function fabric.refuse_change();

create table fabric.model_alias (
  tenant      fabric.name not null,
  model       fabric.name not null,
  environment text        not null check (environment in ('dev', 'staging', 'production')),
  number      integer     not null,
  action      text        not null,
  at          timestamptz not null default now(),
  primary key (tenant, model, environment),
  foreign key (tenant, model, number) references fabric.model_version (tenant, model, number)
);
comment on table  fabric.model_alias             is 'Champions: the version that an environment serves.';
comment on column fabric.model_alias.tenant      is 'Owner.';
comment on column fabric.model_alias.model       is 'Model id.';
comment on column fabric.model_alias.environment is 'dev, staging or production.';
comment on column fabric.model_alias.number      is 'Version number.';
comment on column fabric.model_alias.action      is 'Promotion that moved it here.';
comment on column fabric.model_alias.at          is 'When.';

-- ---------------------------------------------------------------- I.1.5 actions, approvals, policies

create table fabric.action (
  tenant      fabric.name not null,
  id          fabric.name not null,
  kind        text        not null check (kind in ('promotion', 'policy', 'tuning')),
  model       text        not null default '',
  environment text        not null default '',
  requester   text        not null,
  plan        jsonb       not null default '{}',
  plan_digest text generated always as (nullif(plan ->> 'digest', '')) stored,
  risk        integer     not null default 0 check (risk between 0 and 100),
  need        integer     not null default 0 check (need >= 0),
  state       text        not null check (state in ('planned', 'started', 'applied', 'rejected', 'expired', 'stale', 'failed', 'suggested', 'nothing')),
  cause       text        not null default '',
  snapshot    jsonb       not null default '{}',
  evidence    json        not null default '[]',
  bundle      jsonb       not null default '{}',
  created_at  timestamptz not null default now(),
  ended_at    timestamptz,
  simulated   boolean     not null default false,
  trace_id    text        not null default '',
  primary key (tenant, id),
  check ((ended_at is null) = (state in ('planned', 'started')))
);
create index action_plan on fabric.action (tenant, kind, plan_digest);
create unique index action_planned on fabric.action (tenant, kind, plan_digest) where state = 'planned';
comment on table  fabric.action             is 'Promotions, policy rollouts and tunings.';
comment on column fabric.action.tenant      is 'Owner.';
comment on column fabric.action.id          is 'promote-, policy- or tune-<uuid>.';
comment on column fabric.action.kind        is 'promotion, policy or tuning.';
comment on column fabric.action.model       is 'Model id; empty for a policy.';
comment on column fabric.action.environment is 'dev, staging or production.';
comment on column fabric.action.requester   is 'Who applied it; before that, who planned it. May not vote.';
comment on column fabric.action.plan        is 'Descriptor of the plan, which is what is approved.';
comment on column fabric.action.plan_digest is 'Digest of the plan.';
comment on column fabric.action.risk        is '0..100.';
comment on column fabric.action.need        is 'Approvals needed.';
comment on column fabric.action.state       is 'planned, started, or how it ended.';
comment on column fabric.action.cause       is 'Why it ended so.';
comment on column fabric.action.snapshot    is 'Snapshot of the data plane that it led to.';
comment on column fabric.action.evidence    is 'What each region''s runtime said of itself.';
comment on column fabric.action.bundle      is 'Descriptor of the signed statement about the outcome.';
comment on column fabric.action.created_at  is 'When it was planned.';
comment on column fabric.action.ended_at    is 'When it ended.';
comment on column fabric.action.simulated   is 'Asked for by a simulated caller.';
comment on column fabric.action.trace_id    is 'The global trace id.';

create table fabric.ballot (
  tenant    fabric.name not null,
  action    fabric.name not null,
  request   json        not null,
  outcome   text        not null default 'pending' check (outcome in ('pending', 'approved', 'rejected', 'expired')),
  ballot    json        not null,
  opened_at timestamptz not null,
  closed_at timestamptz,
  primary key (tenant, action)
);
create index ballot_opened on fabric.ballot (tenant, opened_at, action);
comment on table  fabric.ballot           is 'Approvals: the request, and the ballot as it stands.';
comment on column fabric.ballot.tenant    is 'Tenant of the action.';
comment on column fabric.ballot.action    is 'Action id.';
comment on column fabric.ballot.request   is 'approval.Request as it was opened; never changes.';
comment on column fabric.ballot.outcome   is 'pending until it is over; then it never changes.';
comment on column fabric.ballot.ballot    is 'approval.Ballot as last recorded.';
comment on column fabric.ballot.opened_at is 'When it opened.';
comment on column fabric.ballot.closed_at is 'When its end was recorded.';

create table fabric.vote (
  tenant    fabric.name not null,
  action    fabric.name not null,
  statement text        not null,
  counted   boolean     not null,
  approver  text        not null,
  role      text        not null,
  key       text        not null,
  approve   boolean     not null,
  reason    text        not null default '',
  refused   text        not null default '',
  at        timestamptz not null,
  primary key (tenant, action, statement, counted),
  foreign key (tenant, action) references fabric.ballot (tenant, action),
  check (counted = (refused = ''))
);
comment on table  fabric.vote           is 'Votes, counted or not, each with its audit leaf. Only grows.';
comment on column fabric.vote.tenant    is 'Tenant of the action.';
comment on column fabric.vote.action    is 'Action id.';
comment on column fabric.vote.statement is 'Digest of the signed statement; empty when it could not be read.';
comment on column fabric.vote.counted   is 'Whether it counts.';
comment on column fabric.vote.approver  is 'Who signed.';
comment on column fabric.vote.role      is 'In which role.';
comment on column fabric.vote.key       is 'Digest of the key.';
comment on column fabric.vote.approve   is 'For or against.';
comment on column fabric.vote.reason    is 'The approver''s words.';
comment on column fabric.vote.refused   is 'Why it does not count.';
comment on column fabric.vote.at        is 'When it was cast.';
create trigger only_grows before update or delete or truncate on fabric.vote for each statement execute function fabric.refuse_change();

create table fabric.approver (
  tenant     fabric.name   not null,
  name       text          not null check (name <> ''),
  role       text          not null,
  key        fabric.digest not null,
  public_key text          not null,
  added_by   text          not null,
  added_at   timestamptz   not null default now(),
  primary key (tenant, name),
  unique (tenant, key)
);
comment on table  fabric.approver            is 'Who may vote.';
comment on column fabric.approver.tenant     is 'Tenant whose actions they may decide.';
comment on column fabric.approver.name       is 'Name; one key each.';
comment on column fabric.approver.role       is 'Role that they vote in.';
comment on column fabric.approver.key        is 'SHA-256 of the DER SPKI.';
comment on column fabric.approver.public_key is 'PEM, SPKI, ECDSA P-256.';
comment on column fabric.approver.added_by   is 'Subject of the token that added them.';
comment on column fabric.approver.added_at   is 'When.';

create table fabric.policy_revision (
  tenant     fabric.name   not null,
  revision   bigint        not null check (revision > 0),
  digest     fabric.digest not null,
  document   text          not null check (document::json is not null),
  action     text          not null,
  created_at timestamptz   not null default now(),
  primary key (tenant, revision)
);
comment on table  fabric.policy_revision            is 'Routing policies that were rolled out. Only grows.';
comment on column fabric.policy_revision.tenant     is 'Tenant that rolled it out.';
comment on column fabric.policy_revision.revision   is 'Revision of the document.';
comment on column fabric.policy_revision.digest     is 'SHA-256 of the document''s bytes.';
comment on column fabric.policy_revision.document   is 'The exact bytes: text, because jsonb would not keep them.';
comment on column fabric.policy_revision.action     is 'Rollout that applied it.';
comment on column fabric.policy_revision.created_at is 'When.';
create trigger only_grows before update or delete or truncate on fabric.policy_revision for each statement execute function fabric.refuse_change();

-- ---------------------------------------------------------------- idempotency

create table fabric.idempotency (
  tenant      fabric.name   not null,
  operation   text          not null,
  key_hash    fabric.digest not null,
  fingerprint fabric.digest not null,
  status      integer       not null default 0,
  body        bytea         not null default '',
  created_at  timestamptz   not null default now(),
  primary key (tenant, operation, key_hash)
);
comment on table  fabric.idempotency             is 'Answers to commands, kept for an exact replay.';
comment on column fabric.idempotency.tenant      is 'Tenant of the caller.';
comment on column fabric.idempotency.operation   is 'operationId of openapi.yaml.';
comment on column fabric.idempotency.key_hash    is 'SHA-256 of the Idempotency-Key; the key is never kept.';
comment on column fabric.idempotency.fingerprint is 'SHA-256 of method, path and body.';
comment on column fabric.idempotency.status      is 'HTTP status; a committed row always has one.';
comment on column fabric.idempotency.body        is 'Exact bytes of the answer.';
comment on column fabric.idempotency.created_at  is 'When; rows are removed after the keeping time.';

-- ---------------------------------------------------------------- views

create view fabric.trial with (security_invoker = true) as
  select tenant, model, id as run, params, metrics, status, ended_at
  from fabric.run where ended_at is not null;
comment on view fabric.trial is 'Runs that ended, for tuning: what each was given and what came of it.';

-- ---------------------------------------------------------------- system tables

create table fabric.snapshot (
  version  bigint        not null primary key check (version > 0),
  action   text          not null,
  phase    text          not null,
  digest   fabric.digest not null,
  snapshot bytea         not null,
  bundle   bytea         not null,
  at       timestamptz   not null default now(),
  unique (action, phase),
  check (digest = 'sha256:' || encode(sha256(snapshot), 'hex'))
);
comment on table  fabric.snapshot          is 'What the data plane runs, each version once. Only grows.';
comment on column fabric.snapshot.version  is 'One above the version before.';
comment on column fabric.snapshot.action   is 'Action that published it.';
comment on column fabric.snapshot.phase    is 'Phase of the action.';
comment on column fabric.snapshot.digest   is 'SHA-256 of the snapshot''s bytes.';
comment on column fabric.snapshot.snapshot is 'Exact bytes that were signed.';
comment on column fabric.snapshot.bundle   is 'Sigstore bundle over them.';
comment on column fabric.snapshot.at       is 'When.';
create trigger only_grows before update or delete or truncate on fabric.snapshot for each statement execute function fabric.refuse_change();

create table fabric.outbox (
  id          bigint      not null primary key generated always as identity,
  tenant      fabric.name not null,
  workflow    text        not null,
  workflow_id text        not null,
  queue       text        not null,
  input       text        not null check (input::json is not null),
  summary     text        not null default '',
  attributes  jsonb       not null default '{}',
  traceparent text        not null default '',
  created_at  timestamptz not null default now(),
  next_at     timestamptz not null default now(),
  attempts    integer     not null default 0,
  error       text        not null default '',
  done_at     timestamptz,
  dead_at     timestamptz
);
create index outbox_due on fabric.outbox (next_at) where done_at is null and dead_at is null;
comment on table  fabric.outbox             is 'Workflows to start, written with the command that asks for them.';
comment on column fabric.outbox.id          is 'Row id: an order of arrival, with gaps.';
comment on column fabric.outbox.tenant      is 'Tenant of the command.';
comment on column fabric.outbox.workflow    is 'Workflow type name.';
comment on column fabric.outbox.workflow_id is 'Workflow id: what makes a second start no start.';
comment on column fabric.outbox.queue       is 'Task queue.';
comment on column fabric.outbox.input       is 'Input, JSON.';
comment on column fabric.outbox.summary     is 'One line for the Temporal Web UI.';
comment on column fabric.outbox.attributes  is 'Search attributes.';
comment on column fabric.outbox.traceparent is 'W3C trace context of the request.';
comment on column fabric.outbox.created_at  is 'When it was asked for.';
comment on column fabric.outbox.next_at     is 'When to try next.';
comment on column fabric.outbox.attempts    is 'Starts that failed.';
comment on column fabric.outbox.error       is 'Why the last one failed.';
comment on column fabric.outbox.done_at     is 'When it was started.';
comment on column fabric.outbox.dead_at     is 'When it was given up.';

-- ---------------------------------------------------------------- audit log

create table fabric.audit_leaf (
  idx    bigint      not null primary key check (idx >= 0),
  tenant text        not null,
  hash   bytea       not null,
  body   bytea       not null check (length(body) <= 65536),
  check (hash = sha256('\x00'::bytea || body)),
  check (convert_from(body, 'UTF8')::jsonb ->> 'tenant' = tenant)
);
comment on table  fabric.audit_leaf        is 'Leaves of the audit log. Only grows.';
comment on column fabric.audit_leaf.idx    is 'Counts from 0 without a gap.';
comment on column fabric.audit_leaf.tenant is 'Tenant that the leaf is about, as its body says.';
comment on column fabric.audit_leaf.hash   is 'RFC 6962 leaf hash of body.';
comment on column fabric.audit_leaf.body   is 'audit.Leaf in canonical form.';
create trigger only_grows before update or delete or truncate on fabric.audit_leaf for each statement execute function fabric.refuse_change();

create table fabric.audit_node (
  level smallint not null check (level between 1 and 62),
  idx   bigint   not null check (idx >= 0),
  hash  bytea    not null check (length(hash) = 32),
  primary key (level, idx)
);
comment on table  fabric.audit_node       is 'Complete subtrees above the leaves, so that a proof reads few rows. Only grows.';
comment on column fabric.audit_node.level is 'The subtree has 2^level leaves.';
comment on column fabric.audit_node.idx   is 'idx * 2^level leaves are to its left.';
comment on column fabric.audit_node.hash  is 'RFC 6962 node hash.';
create trigger only_grows before update or delete or truncate on fabric.audit_node for each statement execute function fabric.refuse_change();

create table fabric.audit_state (
  one      boolean     not null primary key default true check (one),
  size     bigint      not null check (size >= 0),
  frontier bytea[]     not null,
  root     bytea       not null check (length(root) = 32),
  at       timestamptz not null default now(),
  check (cardinality(frontier) = bit_count(size::bit(64)))
);
comment on table  fabric.audit_state          is 'The head of the log, one row; its lock puts appends in order.';
comment on column fabric.audit_state.one      is 'Always true.';
comment on column fabric.audit_state.size     is 'Number of leaves.';
comment on column fabric.audit_state.frontier is 'Hashes of the maximal complete subtrees, largest first: all that an append reads.';
comment on column fabric.audit_state.root     is 'Root over all leaves.';
comment on column fabric.audit_state.at       is 'When the last leaf came.';
-- +goose StatementBegin
create function fabric.only_forward() returns trigger language plpgsql
  as $$ begin
    if tg_op = 'UPDATE' and new.size > old.size then return new; end if;
    raise exception '% of the audit log''s head is refused: it only moves forward', tg_op using errcode = 'insufficient_privilege';
  end $$;
-- +goose StatementEnd
comment on function fabric.only_forward() is 'Guards the head of the audit log.';
create trigger only_forward before update or delete on fabric.audit_state for each row execute function fabric.only_forward();
create trigger never_empty before truncate on fabric.audit_state for each statement execute function fabric.refuse_change();
insert into fabric.audit_state (size, frontier, root) values (0, '{}', sha256(''));

-- ---------------------------------------------------------------- who may see and do what
-- Tenant tables: a policy for each role, over every operation. The head and
-- the nodes of the log and the snapshots hold nothing of a tenant that a
-- policy could tell apart; grants alone guard them.

-- +goose StatementBegin
do $policies$
declare
  t text;
begin
  foreach t in array array['feature', 'consent_event', 'site', 'run', 'round', 'cohort', 'stage', 'submission', 'model', 'model_version',
                           'model_alias', 'action', 'ballot', 'vote', 'approver', 'policy_revision', 'idempotency', 'outbox', 'audit_leaf'] loop
    execute format('alter table fabric.%I enable row level security', t);
    execute format('alter table fabric.%I force row level security', t);
    execute format('create policy tenant on fabric.%I for all to fabric_app using (tenant = (select fabric.tenant())) with check (tenant = (select fabric.tenant()))', t);
    execute format('create policy system on fabric.%I for all to fabric_system using (true) with check (true)', t);
  end loop;
end
$policies$;
-- +goose StatementEnd

grant select on fabric.schema_version, fabric.trial to fabric_app, fabric_system;
grant select, insert on
  fabric.feature, fabric.consent_event, fabric.cohort, fabric.submission, fabric.model_version,
  fabric.vote, fabric.approver, fabric.policy_revision to fabric_app;
grant select, insert, update on
  fabric.site, fabric.run, fabric.round, fabric.stage, fabric.model, fabric.model_alias,
  fabric.action, fabric.ballot, fabric.idempotency to fabric_app;
-- A command writes its outbox row and its leaf itself, and reads neither.
grant insert on fabric.outbox, fabric.audit_leaf, fabric.audit_node to fabric_app;
grant select, update on fabric.audit_state to fabric_app;

grant select on
  fabric.feature, fabric.consent_event, fabric.run, fabric.round, fabric.cohort,
  fabric.model_version, fabric.policy_revision to fabric_system;
grant select, update on fabric.site, fabric.stage to fabric_system;
grant select, insert on fabric.submission, fabric.snapshot, fabric.audit_leaf, fabric.audit_node to fabric_system;
grant select, update on fabric.audit_state to fabric_system;
grant select, update, delete on fabric.outbox to fabric_system;
grant select, delete on fabric.idempotency to fabric_system;

insert into fabric.schema_version (version) values (1);
reset role;
