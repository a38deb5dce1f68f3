-- +goose Up
-- Fabric, migration 17: what the rules decided, what the policy loop saw and
-- proposed, and which policy each region runs on what evidence.
--
-- Runs by goose and by psql like migration 1, after migration 16.

set role fabric_owner;

create table fabric.verdict (
  tenant    fabric.name not null,
  id        text        not null check (id <> ''),
  at        timestamptz not null,
  trace_id  text        not null default '',
  region    text        not null default '',
  purpose   text        not null default '',
  question  text        not null,
  revision  bigint      not null check (revision >= 0),
  bundle    text        not null default '',
  input     jsonb       not null,
  masked    text[]      not null default '{}',
  allowed   boolean     not null,
  reasons   text[]      not null default '{}',
  simulated boolean     not null default false,
  primary key (tenant, id),
  check (allowed = (cardinality(reasons) = 0))
);
create index verdict_at on fabric.verdict (tenant, at, id);
comment on table  fabric.verdict           is 'What the rules decided, so that it can be decided again. Old rows may be deleted.';
comment on column fabric.verdict.tenant    is 'Who asked.';
comment on column fabric.verdict.id        is 'Id of the decision.';
comment on column fabric.verdict.at        is 'When.';
comment on column fabric.verdict.trace_id  is 'W3C trace id of the request that it was part of.';
comment on column fabric.verdict.region    is 'Region that it is about; empty for none.';
comment on column fabric.verdict.purpose   is 'Purpose that it is about; empty for none.';
comment on column fabric.verdict.question  is 'Package of the rules: admission, feature, budget, routing, risk or approver.';
comment on column fabric.verdict.revision  is 'Of the policy that decided; 0 when a remote engine does not say.';
comment on column fabric.verdict.bundle    is 'Digest of rules and policy that decided; empty for a remote engine.';
comment on column fabric.verdict.input     is 'What was asked, masked.';
comment on column fabric.verdict.masked    is 'Where it was masked, as JSON pointers.';
comment on column fabric.verdict.allowed   is 'The answer.';
comment on column fabric.verdict.reasons   is 'Why not; empty when allowed.';
comment on column fabric.verdict.simulated is 'Asked by a simulated caller.';

create table fabric.observation (
  tenant fabric.name      not null,
  metric text             not null check (metric <> ''),
  target text             not null check (target <> ''),
  at     timestamptz      not null,
  value  double precision not null,
  total  double precision not null default 0,
  primary key (tenant, metric, target, at)
);
comment on table  fabric.observation        is 'Telemetry of the policy loop that was reported to it. Old rows may be deleted.';
comment on column fabric.observation.tenant is 'Whose loop it is for.';
comment on column fabric.observation.metric is 'A metric of the closed set of templates.';
comment on column fabric.observation.target is 'Region, or tenant/site.';
comment on column fabric.observation.at     is 'When it was measured.';
comment on column fabric.observation.value  is 'The value; of a share, how many of total. NaN is kept, and judged as none.';
comment on column fabric.observation.total  is 'Of a share; else 0.';

create table fabric.proposal (
  tenant      fabric.name   not null,
  action      fabric.name   not null,
  evaluation  text          not null,
  template    text          not null,
  target      text          not null default '',
  from_value  bigint        not null,
  to_value    bigint        not null,
  direction   text          not null check (direction in ('tighten', 'loosen')),
  summary     text          not null,
  predicate   fabric.digest not null,
  bundle      fabric.digest not null,
  proposed_at timestamptz   not null,
  expires_at  timestamptz   not null,
  primary key (tenant, action)
);
create index proposal_at on fabric.proposal (tenant, proposed_at, action);
comment on table  fabric.proposal             is 'Changes of the policy that the loop proposed. How one ended is in its action. Only grows.';
comment on column fabric.proposal.tenant      is 'Whose loop it was.';
comment on column fabric.proposal.action      is 'Rollout that brings it into force.';
comment on column fabric.proposal.evaluation  is 'Evaluation that it came from.';
comment on column fabric.proposal.template    is 'Of the closed set.';
comment on column fabric.proposal.target      is 'Region or tenant/site; empty for one value for all.';
comment on column fabric.proposal.from_value  is 'Value in force.';
comment on column fabric.proposal.to_value    is 'Value that is proposed.';
comment on column fabric.proposal.direction   is 'tighten or loosen.';
comment on column fabric.proposal.summary     is 'In one line.';
comment on column fabric.proposal.predicate   is 'Blob of the predicate, with all evidence.';
comment on column fabric.proposal.bundle      is 'Blob of the signed statement.';
comment on column fabric.proposal.proposed_at is 'When.';
comment on column fabric.proposal.expires_at  is 'When its evidence is too old to decide on.';
create trigger only_grows before update or delete or truncate on fabric.proposal for each statement execute function fabric.refuse_change();

create table fabric.policy_region (
  tenant   fabric.name   not null,
  action   fabric.name   not null,
  region   text          not null,
  state    text          not null check (state in ('published', 'delivered', 'verified', 'active', 'halted', 'rolled-back')),
  revision bigint        not null check (revision > 0),
  policy   fabric.digest not null,
  snapshot bigint        not null check (snapshot >= 0),
  why      text          not null default '',
  at       timestamptz   not null default now(),
  primary key (tenant, action, region, state)
);
comment on table  fabric.policy_region          is 'How far a policy came in each region, each state on evidence of its own. Only grows.';
comment on column fabric.policy_region.tenant   is 'Tenant of the rollout.';
comment on column fabric.policy_region.action   is 'Rollout.';
comment on column fabric.policy_region.region   is 'Region.';
comment on column fabric.policy_region.state    is 'published: the signed snapshot is written; delivered: the runtime has it; verified: and its signature; active: and decides by it; halted, rolled-back: the rollout.';
comment on column fabric.policy_region.revision is 'Revision of the policy.';
comment on column fabric.policy_region.policy   is 'Digest of the document.';
comment on column fabric.policy_region.snapshot is 'Snapshot that is the evidence.';
comment on column fabric.policy_region.why      is 'In words; empty where there is nothing to say.';
comment on column fabric.policy_region.at       is 'When it was noted.';
create trigger only_grows before update or delete or truncate on fabric.policy_region for each statement execute function fabric.refuse_change();

-- +goose StatementBegin
do $policies$
declare
  t text;
begin
  foreach t in array array['verdict', 'observation', 'proposal', 'policy_region'] loop
    execute format('alter table fabric.%I enable row level security', t);
    execute format('alter table fabric.%I force row level security', t);
    execute format('create policy tenant on fabric.%I for all to fabric_app using (tenant = (select fabric.tenant())) with check (tenant = (select fabric.tenant()))', t);
    execute format('create policy system on fabric.%I for all to fabric_system using (true) with check (true)', t);
  end loop;
end
$policies$;
-- +goose StatementEnd

grant select, insert on fabric.verdict, fabric.observation, fabric.proposal, fabric.policy_region to fabric_app;

insert into fabric.schema_version (version) values (17);
reset role;
