-- +goose Up
-- Fabric, migration 14: the decisions of the routers, what they add up to, and
-- tokens that are no longer accepted.
--
-- Runs by goose and by psql like migration 1, after migration 13.

set role fabric_owner;

-- ---------------------------------------------------------------- decisions

create table fabric.decision (
  tenant          fabric.name not null,
  id              text        not null check (id ~ '^[0-9a-f]{32}-[0-9a-f]{16}$'),
  at              timestamptz not null,
  caller          fabric.name not null,
  model           text        not null,
  environment     text        not null,
  version         integer     not null check (version >= 0),
  manifest        text        not null,
  region          text        not null,
  endpoint        text        not null,
  lineage         text        not null,
  canary          boolean     not null,
  status          integer     not null check (status between 100 and 599),
  problem         text        not null,
  latency_micros  bigint      not null check (latency_micros >= 0),
  upstream_micros bigint      not null check (upstream_micros >= 0),
  output          text        not null,
  snapshot        bigint      not null,
  policy          bigint      not null,
  trace_id        text        not null,
  key_id          text        not null,
  header          text        not null,
  simulated       boolean     not null,
  router          text        not null,
  sequence        bigint      not null check (sequence > 0),
  primary key (tenant, id)
);
create index decision_at on fabric.decision (tenant, at);
comment on table  fabric.decision                 is 'What routers decided and how it ended: who asked which model, never what was asked. Old rows may be deleted, see docs/operations/database.md.';
comment on column fabric.decision.tenant          is 'Owner of the model.';
comment on column fabric.decision.id              is 'Trace id and span id of the router: what the audit header calls did.';
comment on column fabric.decision.at              is 'When it was asked, by the router''s clock.';
comment on column fabric.decision.caller          is 'Tenant that asked.';
comment on column fabric.decision.model           is 'Model id.';
comment on column fabric.decision.environment     is 'dev, staging or production.';
comment on column fabric.decision.version         is 'Version that answered, or the last one that failed to; 0 when none was asked.';
comment on column fabric.decision.manifest        is 'Digest of its package; empty when none was asked.';
comment on column fabric.decision.region          is 'Region of the runtime; empty when none was asked.';
comment on column fabric.decision.endpoint        is 'Runtime; empty when none was asked.';
comment on column fabric.decision.lineage         is 'Rollout that the call had a part in, on either side; empty for none.';
comment on column fabric.decision.canary          is 'It was on the side of the canary.';
comment on column fabric.decision.status          is 'HTTP status that the caller was given; 499 for one that left.';
comment on column fabric.decision.problem         is 'Code of the problem; empty for an answer.';
comment on column fabric.decision.latency_micros  is 'Microseconds from the request to the answer, at the router.';
comment on column fabric.decision.upstream_micros is 'Microseconds of that which runtimes took.';
comment on column fabric.decision.output          is 'Digest of the output; empty for a problem.';
comment on column fabric.decision.snapshot        is 'Version of the snapshot that decided.';
comment on column fabric.decision.policy          is 'Revision of the policy that decided.';
comment on column fabric.decision.trace_id        is 'W3C trace id.';
comment on column fabric.decision.key_id          is 'Key of the audit header; empty without one.';
comment on column fabric.decision.header          is 'The audit header; empty for a problem.';
comment on column fabric.decision.simulated       is 'The caller, the route or the runtime was simulated.';
comment on column fabric.decision.router          is 'Spool that it came from.';
comment on column fabric.decision.sequence        is 'Its number in that spool.';

create table fabric.traffic (
  tenant          fabric.name not null,
  model           text        not null,
  environment     text        not null,
  version         integer     not null,
  region          text        not null,
  lineage         text        not null,
  canary          boolean     not null,
  at              timestamptz not null,
  requests        bigint      not null default 0,
  answered        bigint      not null default 0,
  refused         bigint      not null default 0,
  failed          bigint      not null default 0,
  gone            bigint      not null default 0,
  latency_micros  bigint      not null default 0,
  latency_squares numeric     not null default 0,
  upstream_micros bigint      not null default 0,
  primary key (tenant, model, environment, version, region, lineage, canary, at)
);
comment on table  fabric.traffic                 is 'Decisions added up by version, region and ten seconds. Each decision is counted once.';
comment on column fabric.traffic.tenant          is 'Owner of the model.';
comment on column fabric.traffic.model           is 'Model id.';
comment on column fabric.traffic.environment     is 'dev, staging or production.';
comment on column fabric.traffic.version         is 'Version that answered, or the last one that failed to; 0 when none was asked.';
comment on column fabric.traffic.region          is 'Region of the runtime; empty when none was asked.';
comment on column fabric.traffic.lineage         is 'Rollout that the calls had a part in, on either side; empty for none.';
comment on column fabric.traffic.canary          is 'They were on the side of the canary.';
comment on column fabric.traffic.at              is 'When these ten seconds began.';
comment on column fabric.traffic.requests        is 'All decisions.';
comment on column fabric.traffic.answered        is 'Of these, status 2xx.';
comment on column fabric.traffic.refused         is 'Status 4xx but 499: for what the caller asked.';
comment on column fabric.traffic.failed          is 'Status 5xx.';
comment on column fabric.traffic.gone            is 'Status 499: the caller left.';
comment on column fabric.traffic.latency_micros  is 'Sum of the latencies of answered ones, in microseconds.';
comment on column fabric.traffic.latency_squares is 'Sum of their squares.';
comment on column fabric.traffic.upstream_micros is 'Sum of the time that runtimes took for answered ones, in microseconds.';

create table fabric.router_spool (
  router   text        not null primary key check (router ~ '^[0-9a-f]{32}$'),
  region   text        not null,
  next     bigint      not null check (next > 0),
  lost     bigint      not null default 0,
  at       timestamptz not null default now()
);
comment on table  fabric.router_spool        is 'How far the decisions of each router have arrived.';
comment on column fabric.router_spool.router is 'Spool, by the random id that it got when it was made.';
comment on column fabric.router_spool.region is 'Region of the router; empty for one that belongs to none.';
comment on column fabric.router_spool.next   is 'Sequence number that is waited for: what is below has arrived or is lost.';
comment on column fabric.router_spool.lost   is 'Decisions that never will arrive, the sum of its gaps.';
comment on column fabric.router_spool.at     is 'When something last arrived.';

create table fabric.decision_gap (
  router text        not null,
  first  bigint      not null check (first > 0),
  count  bigint      not null check (count > 0),
  at     timestamptz not null default now(),
  primary key (router, first)
);
comment on table  fabric.decision_gap        is 'Decisions that a router made and could not keep. Only grows.';
comment on column fabric.decision_gap.router is 'Spool.';
comment on column fabric.decision_gap.first  is 'Sequence number of the first that is missing.';
comment on column fabric.decision_gap.count  is 'How many are.';
comment on column fabric.decision_gap.at     is 'When that was learnt.';

-- ---------------------------------------------------------------- revocation

create table fabric.token_revocation (
  tenant     fabric.name not null,
  id         text        not null,
  token      text        not null,
  subject    text        not null,
  before     timestamptz not null,
  until      timestamptz not null,
  actor      text        not null,
  reason     text        not null,
  revoked_at timestamptz not null default now(),
  primary key (tenant, id),
  check (token = '' or subject = '')
);
create index token_revocation_until on fabric.token_revocation (tenant, until);
comment on table  fabric.token_revocation            is 'Tokens that are no longer accepted, though their signature holds. Only grows.';
comment on column fabric.token_revocation.tenant     is 'Tenant of the tokens.';
comment on column fabric.token_revocation.id         is 'Identifier of the revocation, a UUID that sorts by time.';
comment on column fabric.token_revocation.token      is 'Claim jti of the one token; empty for a subject''s or all.';
comment on column fabric.token_revocation.subject    is 'Claim sub of the tokens; empty for one token or all.';
comment on column fabric.token_revocation.before     is 'Tokens that were issued at this second or earlier.';
comment on column fabric.token_revocation.until      is 'When the last token that it is about has expired.';
comment on column fabric.token_revocation.actor      is 'Subject of the token that asked for it.';
comment on column fabric.token_revocation.reason     is 'Why, in the words of who asked.';
comment on column fabric.token_revocation.revoked_at is 'When.';

-- +goose StatementBegin
do $guard$
declare
  name text;
begin
  foreach name in array array['decision', 'traffic', 'token_revocation'] loop
    execute format('alter table fabric.%I enable row level security', name);
    execute format('alter table fabric.%I force row level security', name);
    execute format('create policy tenant on fabric.%I for all to fabric_app using (tenant = (select fabric.tenant())) with check (tenant = (select fabric.tenant()))', name);
    execute format('create policy system on fabric.%I for all to fabric_system using (true) with check (true)', name);
  end loop;
  foreach name in array array['decision_gap', 'token_revocation'] loop
    execute format('create trigger only_grows before update or delete or truncate on fabric.%I for each statement execute function fabric.refuse_change()', name);
  end loop;
end
$guard$;
-- +goose StatementEnd
grant select on fabric.decision, fabric.traffic to fabric_app;
grant select, insert, delete on fabric.decision to fabric_system;
grant select, insert, update, delete on fabric.traffic to fabric_system;
grant select, insert, update on fabric.router_spool to fabric_system;
grant select, insert on fabric.decision_gap to fabric_system;
grant select, insert on fabric.token_revocation to fabric_app;
grant select on fabric.token_revocation to fabric_system;

insert into fabric.schema_version (version) values (14);
reset role;
