-- +goose Up
-- Fabric, migration 10: approvals that are used once, taken back, delegated and
-- reviewed.
--
-- Runs by goose and by psql like migration 1, after migration 9.

set role fabric_owner;

-- ---------------------------------------------------------------- ballots

alter table fabric.ballot
  drop constraint ballot_outcome_check,
  add constraint ballot_outcome_check check (outcome in ('pending', 'approved', 'rejected', 'expired', 'returned', 'revoked', 'lapsed')),
  add column nonce     text not null generated always as (request ->> 'nonce') stored,
  add column review_of text not null generated always as (coalesce(request ->> 'review', '')) stored,
  add column due_at    timestamptz,
  add column begun_at  timestamptz,
  add column begun_use text not null default '',
  add constraint ballot_begun_check check ((begun_at is null) = (begun_use = '') and (begun_at is null or outcome = 'approved'));
comment on column fabric.ballot.outcome   is 'pending until it is over; an approved one may change until it has begun, every other end stays.';
comment on column fabric.ballot.nonce     is 'Of the request: issued once, used once.';
comment on column fabric.ballot.review_of is 'Action whose broken glass it reviews; else empty.';
comment on column fabric.ballot.due_at    is 'When it expires; of a review, when it is overdue.';
comment on column fabric.ballot.begun_at  is 'When its approval, and with it the nonce, was used.';
comment on column fabric.ballot.begun_use is 'By which run of the workflow.';
create unique index ballot_nonce on fabric.ballot (tenant, nonce);
create index ballot_state on fabric.ballot (tenant, outcome, opened_at, action);
create index ballot_review on fabric.ballot (tenant, due_at) where review_of <> '' and outcome = 'pending';

create table fabric.ballot_duty (
  tenant    fabric.name not null,
  action    fabric.name not null,
  approver  text        not null,
  opened_at timestamptz not null,
  due       boolean     not null,
  primary key (tenant, action, approver),
  foreign key (tenant, action) references fabric.ballot (tenant, action)
);
create index ballot_duty_mine on fabric.ballot_duty (tenant, approver, opened_at, action) where due;
comment on table  fabric.ballot_duty           is 'Whom a ballot waits for. Drawn from the ballot whenever it is recorded, for the list of what is mine to decide.';
comment on column fabric.ballot_duty.tenant    is 'Tenant of the action.';
comment on column fabric.ballot_duty.action    is 'Action id.';
comment on column fabric.ballot_duty.approver  is 'Name of the approver.';
comment on column fabric.ballot_duty.opened_at is 'When the ballot was opened.';
comment on column fabric.ballot_duty.due       is 'Whether it waits for them now.';

alter table fabric.vote
  add column decision   text not null default '',
  add column on_behalf  text not null default '',
  add column delegation text not null default '',
  add column bundle     text not null default '';
comment on column fabric.vote.decision   is 'approve, reject, request-changes, revoke or break-glass.';
comment on column fabric.vote.on_behalf  is 'Approver whose seat a delegate fills.';
comment on column fabric.vote.delegation is 'Digest of the statement that made them one.';
comment on column fabric.vote.bundle     is 'Digest of the signed bundle, which is a blob.';

alter table fabric.action add column begun_at timestamptz;
comment on column fabric.action.begun_at is 'When its approval was used, in the same transaction.';

-- ---------------------------------------------------------------- people

-- A name may come back with a new key; a key never comes back.
alter table fabric.approver
  drop constraint approver_pkey,
  drop constraint approver_tenant_key_key,
  add constraint approver_pkey primary key (tenant, key),
  add column revoked_at  timestamptz,
  add column revoked_by  text not null default '',
  add column revoked_for text not null default '',
  add constraint approver_revoked_check check ((revoked_at is null) = (revoked_by = ''));
create unique index approver_name on fabric.approver (tenant, name) where revoked_at is null;
comment on column fabric.approver.name        is 'Name; one key each at a time.';
comment on column fabric.approver.revoked_at  is 'When the registration was revoked: no vote counts from then on.';
comment on column fabric.approver.revoked_by  is 'Subject of the token that revoked it.';
comment on column fabric.approver.revoked_for is 'Why.';

create table fabric.delegation (
  tenant     fabric.name   not null,
  id         fabric.digest not null,
  delegator  text          not null check (delegator <> ''),
  nonce      text          not null check (nonce <> ''),
  granted    json          not null,
  expires_at timestamptz   not null,
  added_at   timestamptz   not null default now(),
  revoked_at timestamptz,
  revoked_by text          not null default '',
  primary key (tenant, id),
  unique (tenant, delegator, nonce),
  check ((revoked_at is null) = (revoked_by = ''))
);
comment on table  fabric.delegation            is 'Signed statements by which an approver lets another person fill their seat.';
comment on column fabric.delegation.tenant     is 'Tenant whose actions it is about.';
comment on column fabric.delegation.id         is 'Digest of the statement.';
comment on column fabric.delegation.delegator  is 'Approver who signed it.';
comment on column fabric.delegation.nonce      is 'Of the statement; a revocation names it.';
comment on column fabric.delegation.granted    is 'approval.Granted as it was accepted.';
comment on column fabric.delegation.expires_at is 'When it ends by itself.';
comment on column fabric.delegation.added_at   is 'When it was accepted.';
comment on column fabric.delegation.revoked_at is 'When it was revoked.';
comment on column fabric.delegation.revoked_by is 'Digest of the statement that revoked it, or the subject of an administrator''s token.';

-- ---------------------------------------------------------------- who may see and do what

-- +goose StatementBegin
do $policies$
declare
  t text;
begin
  foreach t in array array['ballot_duty', 'delegation'] loop
    execute format('alter table fabric.%I enable row level security', t);
    execute format('alter table fabric.%I force row level security', t);
    execute format('create policy tenant on fabric.%I for all to fabric_app using (tenant = (select fabric.tenant())) with check (tenant = (select fabric.tenant()))', t);
    execute format('create policy system on fabric.%I for all to fabric_system using (true) with check (true)', t);
  end loop;
end
$policies$;
-- +goose StatementEnd

grant select, insert, update on fabric.ballot_duty to fabric_app;
grant select, insert, update (revoked_at, revoked_by) on fabric.delegation to fabric_app;
grant update (revoked_at, revoked_by, revoked_for) on fabric.approver to fabric_app;

insert into fabric.schema_version (version) values (10);
reset role;
