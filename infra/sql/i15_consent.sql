-- +goose Up
-- Fabric, migration 15: grants and what their withdrawal reaches, requests for
-- access, versions of features by content.
--
-- Runs by goose and by psql like migration 1, after migration 14.

set role fabric_owner;

-- ---------------------------------------------------------------- grants

create table fabric.consent_epoch (
  tenant fabric.name not null,
  epoch  bigint      not null check (epoch > 0),
  primary key (tenant)
);
comment on table  fabric.consent_epoch        is 'How often a tenant has taken consent back, counted from 1. Only rises.';
comment on column fabric.consent_epoch.tenant is 'Tenant.';
comment on column fabric.consent_epoch.epoch  is 'Epoch of what it grants now.';

create table fabric.consent_grant (
  tenant          fabric.name   not null,
  id              fabric.name   not null,
  feature         fabric.name   not null,
  grantee         fabric.name   not null,
  document        text          not null check (document::json is not null),
  digest          fabric.digest not null,
  bundle          jsonb         not null default '{}',
  own             boolean       not null default false,
  origin          text          not null check (origin in ('registration', 'grant', 'access')),
  epoch           bigint        not null check (epoch > 0),
  recorded_at     timestamptz   not null default now(),
  actor           text          not null,
  simulated       boolean       not null default false,
  withdrawn_at    timestamptz,
  withdrawn_epoch bigint,
  primary key (tenant, id),
  unique (tenant, digest),
  check ((withdrawn_at is null) = (withdrawn_epoch is null)),
  check (withdrawn_epoch > epoch)
);
create index consent_grant_feature on fabric.consent_grant (tenant, feature, grantee);
comment on table  fabric.consent_grant                 is 'What tenants allow, each a statement of one feature and one grantee. Consent is derived from those that are in force.';
comment on column fabric.consent_grant.tenant          is 'Whose feature it is.';
comment on column fabric.consent_grant.id              is 'Grant id within the tenant.';
comment on column fabric.consent_grant.feature         is 'Feature id.';
comment on column fabric.consent_grant.grantee         is 'Tenant that may use it.';
comment on column fabric.consent_grant.document        is 'Canonical bytes of the grant: text, because jsonb would not keep them.';
comment on column fabric.consent_grant.digest          is 'Their SHA-256, by which orders name it.';
comment on column fabric.consent_grant.bundle          is 'Descriptor of the signed statement; {} until the first plan needs it.';
comment on column fabric.consent_grant.own             is 'The bundle is by a registered approver of the tenant; else by the control plane.';
comment on column fabric.consent_grant.origin          is 'registration, grant or access: how it came about.';
comment on column fabric.consent_grant.epoch           is 'Consent epoch of the tenant when it was given.';
comment on column fabric.consent_grant.recorded_at     is 'When it was given.';
comment on column fabric.consent_grant.actor           is 'Subject of the token.';
comment on column fabric.consent_grant.simulated       is 'Given by a simulated caller.';
comment on column fabric.consent_grant.withdrawn_at    is 'When it was withdrawn.';
comment on column fabric.consent_grant.withdrawn_epoch is 'Epoch that the withdrawal began.';

create table fabric.grant_use (
  tenant   fabric.name not null,
  grant_id fabric.name not null,
  owner    fabric.name not null,
  run      fabric.name not null,
  number   integer     not null check (number >= 0),
  at       timestamptz not null default now(),
  primary key (tenant, grant_id, owner, run, number),
  foreign key (tenant, grant_id) references fabric.consent_grant (tenant, id)
);
comment on table  fabric.grant_use          is 'Rounds that were begun under a grant. Only grows.';
comment on column fabric.grant_use.tenant   is 'Whose grant it is.';
comment on column fabric.grant_use.grant_id is 'Grant id.';
comment on column fabric.grant_use.owner    is 'Owner of the run.';
comment on column fabric.grant_use.run      is 'Run id.';
comment on column fabric.grant_use.number   is 'Round number.';
comment on column fabric.grant_use.at       is 'When the round began.';
create trigger only_grows before update or delete or truncate on fabric.grant_use for each statement execute function fabric.refuse_change();

-- ---------------------------------------------------------------- withdrawals

create table fabric.withdrawal (
  tenant      fabric.name not null,
  epoch       bigint      not null check (epoch > 1),
  feature     fabric.name not null,
  grants      text[]      not null,
  grantees    text[]      not null,
  reason      text        not null default '',
  actor       text        not null,
  asked_at    timestamptz not null,
  simulated   boolean     not null default false,
  trace_id    text        not null default '',
  report      jsonb       not null default '{}',
  markdown    jsonb       not null default '{}',
  bundle      jsonb       not null default '{}',
  undecided   boolean     not null default false,
  reported_at timestamptz,
  decision    text        not null default '' check (decision in ('', 'stop', 'retrain', 'retire')),
  decided_by  text        not null default '',
  decided_for text        not null default '',
  decided_at  timestamptz,
  primary key (tenant, epoch),
  check ((decided_at is null) = (decision = ''))
);
comment on table  fabric.withdrawal             is 'Consent that was taken back, what that reached, and what was decided about what had been learnt.';
comment on column fabric.withdrawal.tenant      is 'Who took it back.';
comment on column fabric.withdrawal.epoch       is 'Consent epoch that it began.';
comment on column fabric.withdrawal.feature     is 'Feature id.';
comment on column fabric.withdrawal.grants      is 'Ids of the grants that ended.';
comment on column fabric.withdrawal.grantees    is 'Whose they were.';
comment on column fabric.withdrawal.reason      is 'In the tenant''s words.';
comment on column fabric.withdrawal.actor       is 'Subject of the token.';
comment on column fabric.withdrawal.asked_at    is 'When it was committed.';
comment on column fabric.withdrawal.simulated   is 'By a simulated caller.';
comment on column fabric.withdrawal.trace_id    is 'The global trace id.';
comment on column fabric.withdrawal.report      is 'Descriptor of the propagation report.';
comment on column fabric.withdrawal.markdown    is 'Descriptor of the same for people.';
comment on column fabric.withdrawal.bundle      is 'Descriptor of the signed statement that is the report.';
comment on column fabric.withdrawal.undecided   is 'Something had been learnt: a person is asked what becomes of it.';
comment on column fabric.withdrawal.reported_at is 'When the report was recorded.';
comment on column fabric.withdrawal.decision    is 'stop, retrain or retire; empty until somebody decides.';
comment on column fabric.withdrawal.decided_by  is 'Who.';
comment on column fabric.withdrawal.decided_for is 'Why.';
comment on column fabric.withdrawal.decided_at  is 'When.';

create table fabric.round_halt (
  tenant      fabric.name not null,
  run         fabric.name not null,
  number      integer     not null,
  region      fabric.name not null,
  site_tenant fabric.name not null,
  epoch       bigint      not null,
  stage       text        not null check (stage in ('update', 'advertise', 'share', 'mask', 'check', 'unmask')),
  step        smallint    not null check (step between 1 and 5),
  submitted   integer     not null check (submitted >= 0),
  sites       integer     not null check (sites > 0),
  at          timestamptz not null default clock_timestamp(),
  primary key (tenant, run, number, region, site_tenant),
  foreign key (tenant, run, number) references fabric.round (tenant, run, number)
);
comment on table  fabric.round_halt             is 'Tenants whose answers do not count in a group of a round, from a stage on: they have withdrawn consent. Only grows.';
comment on column fabric.round_halt.tenant      is 'Owner of the run.';
comment on column fabric.round_halt.run         is 'Run id.';
comment on column fabric.round_halt.number      is 'Round number.';
comment on column fabric.round_halt.region      is 'Group.';
comment on column fabric.round_halt.site_tenant is 'Who has withdrawn.';
comment on column fabric.round_halt.epoch       is 'Which withdrawal.';
comment on column fabric.round_halt.stage       is 'First stage that was not closed then.';
comment on column fabric.round_halt.step        is 'Its place in the order of stages: update and advertise 1, share 2, mask 3, check 4, unmask 5.';
comment on column fabric.round_halt.submitted   is 'Sites of the tenant that had sent an update.';
comment on column fabric.round_halt.sites       is 'Sites of the tenant in the group.';
comment on column fabric.round_halt.at          is 'When it took effect.';
create trigger only_grows before update or delete or truncate on fabric.round_halt for each statement execute function fabric.refuse_change();

create table fabric.round_taint (
  tenant      fabric.name not null,
  run         fabric.name not null,
  number      integer     not null,
  site_tenant fabric.name not null,
  epoch       bigint      not null,
  region      text        not null default '',
  sites       integer     not null default 0 check (sites >= 0),
  decision    text        not null default '' check (decision in ('', 'stop', 'retrain', 'retire')),
  at          timestamptz not null default clock_timestamp(),
  primary key (tenant, run, number, site_tenant, epoch, region),
  foreign key (tenant, run, number) references fabric.round (tenant, run, number)
);
comment on table  fabric.round_taint             is 'Rounds whose weights learnt from what was withdrawn later. Whatever follows from those weights is tainted with them.';
comment on column fabric.round_taint.tenant      is 'Owner of the run.';
comment on column fabric.round_taint.run         is 'Run id.';
comment on column fabric.round_taint.number      is 'Round number.';
comment on column fabric.round_taint.site_tenant is 'Who has withdrawn.';
comment on column fabric.round_taint.epoch       is 'Which withdrawal.';
comment on column fabric.round_taint.region      is 'Group that had added the updates of a round that ran; empty for a round that was over.';
comment on column fabric.round_taint.sites       is 'Sites of the tenant in it.';
comment on column fabric.round_taint.decision    is 'Of the withdrawal. Only stop lets what follows be promoted.';
comment on column fabric.round_taint.at          is 'When it was found.';

-- ---------------------------------------------------------------- access

create table fabric.access_request (
  tenant      fabric.name not null,
  id          fabric.name not null,
  feature     fabric.name not null,
  requester   fabric.name not null,
  purpose     text        not null,
  actions     text[]      not null,
  reason      text        not null,
  days        integer     not null check (days between 1 and 3650),
  state       text        not null default 'PENDING' check (state in ('PENDING', 'APPROVED', 'PROVISIONED', 'REJECTED', 'REVOKED')),
  actor       text        not null,
  created_at  timestamptz not null default now(),
  decided_by  text        not null default '',
  decided_for text        not null default '',
  decided_at  timestamptz,
  grant_id    text        not null default '',
  simulated   boolean     not null default false,
  primary key (tenant, id)
);
create unique index access_request_open on fabric.access_request (tenant, feature, requester) where state = 'PENDING';
comment on table  fabric.access_request             is 'Requests of tenants to use a feature of another, and what the owner decided.';
comment on column fabric.access_request.tenant      is 'Owner of the feature, who decides.';
comment on column fabric.access_request.id          is 'access-<uuid>.';
comment on column fabric.access_request.feature     is 'Feature id.';
comment on column fabric.access_request.requester   is 'Tenant that asks.';
comment on column fabric.access_request.purpose     is 'Term of the Data Use Ontology.';
comment on column fabric.access_request.actions     is 'What it wants to do.';
comment on column fabric.access_request.reason      is 'In its words.';
comment on column fabric.access_request.days        is 'For how long.';
comment on column fabric.access_request.state       is 'PENDING, APPROVED, PROVISIONED, REJECTED or REVOKED.';
comment on column fabric.access_request.actor       is 'Subject of the token that asked.';
comment on column fabric.access_request.created_at  is 'When.';
comment on column fabric.access_request.decided_by  is 'Subject of the token that decided.';
comment on column fabric.access_request.decided_for is 'Why.';
comment on column fabric.access_request.decided_at  is 'When it was decided last.';
comment on column fabric.access_request.grant_id    is 'Grant that it led to.';
comment on column fabric.access_request.simulated   is 'By a simulated caller.';

-- ---------------------------------------------------------------- versions of features

alter table fabric.feature
  add column semantics   json not null default '{}',
  add column content     fabric.digest,
  add column description text not null default '',
  add column tags        text[] not null default '{}',
  add column staged      boolean not null default false;
comment on column fabric.feature.semantics   is 'Unit, nullability, range and meaning of each column.';
comment on column fabric.feature.content     is 'SHA-256 of canonical schema and semantics: the identity of the version.';
comment on column fabric.feature.description is 'For people; outsiders see it.';
comment on column fabric.feature.tags        is 'For search; outsiders see them.';
comment on column fabric.feature.staged      is 'Registered without becoming the version in use.';

create table fabric.feature_alias (
  tenant   fabric.name not null,
  feature  fabric.name not null,
  version  integer     not null,
  mode     text        not null default 'none' check (mode in ('none', 'backward', 'forward', 'full')),
  actor    text        not null,
  moved_at timestamptz not null default now(),
  primary key (tenant, feature),
  foreign key (tenant, feature, version) references fabric.feature (tenant, id, version)
);
comment on table  fabric.feature_alias          is 'The version of each feature that is in use.';
comment on column fabric.feature_alias.tenant   is 'Owner.';
comment on column fabric.feature_alias.feature  is 'Feature id.';
comment on column fabric.feature_alias.version  is 'Version that plans pin.';
comment on column fabric.feature_alias.mode     is 'What a next version must keep: none, backward, forward or full.';
comment on column fabric.feature_alias.actor    is 'Who moved it.';
comment on column fabric.feature_alias.moved_at is 'When.';

-- ---------------------------------------------------------------- who may see and do what

-- +goose StatementBegin
do $policies$
declare
  t text;
begin
  foreach t in array array['consent_epoch', 'consent_grant', 'grant_use', 'withdrawal', 'round_halt', 'round_taint', 'access_request', 'feature_alias'] loop
    execute format('alter table fabric.%I enable row level security', t);
    execute format('alter table fabric.%I force row level security', t);
    execute format('create policy tenant on fabric.%I for all to fabric_app using (tenant = (select fabric.tenant())) with check (tenant = (select fabric.tenant()))', t);
    execute format('create policy system on fabric.%I for all to fabric_system using (true) with check (true)', t);
  end loop;
end
$policies$;
-- +goose StatementEnd

grant select, insert, update (epoch) on fabric.consent_epoch to fabric_app;
grant select, insert, update (bundle, withdrawn_at, withdrawn_epoch) on fabric.consent_grant to fabric_app;
grant select, insert on fabric.grant_use to fabric_app;
grant select on fabric.round_halt to fabric_app;
grant select on fabric.round_taint to fabric_app;
grant select, insert, update (report, markdown, bundle, undecided, reported_at, decision, decided_by, decided_for, decided_at) on fabric.withdrawal to fabric_app;
grant select, insert, update (state, decided_by, decided_for, decided_at, grant_id) on fabric.access_request to fabric_app;
grant select, insert, update (version, mode, actor, moved_at) on fabric.feature_alias to fabric_app;

grant select on fabric.consent_epoch, fabric.consent_grant, fabric.grant_use, fabric.withdrawal, fabric.access_request,
  fabric.feature_alias, fabric.survivors, fabric.model_alias to fabric_system;
grant select, insert on fabric.round_halt, fabric.round_taint to fabric_system;
grant update (decision) on fabric.round_taint to fabric_system;

-- ---------------------------------------------------------------- what there was before

-- The owner is bound by the policies like everybody, and there is none for it.
-- Consent that was given before is a grant for each grantee, in canonical form.
alter table fabric.feature       no force row level security;
alter table fabric.feature_alias no force row level security;
alter table fabric.consent_event no force row level security;
alter table fabric.consent_epoch no force row level security;
alter table fabric.consent_grant no force row level security;

insert into fabric.feature_alias (tenant, feature, version, actor)
select tenant, id, max(version), 'fabric' from fabric.feature group by tenant, id;

insert into fabric.consent_epoch (tenant, epoch) select distinct tenant, 1 from fabric.feature;

insert into fabric.consent_grant (tenant, id, feature, grantee, document, digest, origin, epoch, recorded_at, actor, simulated)
select d.tenant, d.id, d.feature, d.grantee, d.document, 'sha256:' || encode(sha256(convert_to(d.document, 'UTF8')), 'hex'), 'registration', 1, d.at, d.actor, d.simulated
from (
  select e.tenant, g.id, e.feature, g.grantee, e.at, e.actor, e.simulated,
    '{"actions":[' || (select string_agg('"' || p || '"', ',' order by p collate "C") from unnest(e.purposes) p) || '],"epoch":1,"feature":"' || e.feature
      || '","grantId":"' || g.id || '","grantee":"' || g.grantee || '","notBefore":"' || to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
      || '","tenant":"' || e.tenant || '"}' as document
  from (select distinct on (tenant, feature) * from fabric.consent_event order by tenant, feature, seq desc) e
  cross join lateral (select grantee, 'g-' || substr(encode(sha256(convert_to(e.feature || '/' || grantee, 'UTF8')), 'hex'), 1, 32) as id
    from unnest(e.grantees) grantee) g
  where e.kind = 'granted' and cardinality(e.purposes) > 0
) d;

alter table fabric.feature       force row level security;
alter table fabric.feature_alias force row level security;
alter table fabric.consent_event force row level security;
alter table fabric.consent_epoch force row level security;
alter table fabric.consent_grant force row level security;

insert into fabric.schema_version (version) values (15);
reset role;
