-- +goose Up
-- Fabric, migration 3: what may be learnt from a feature, and what was.
--
-- Both tables belong to the tenant whose data it is, not to the one that
-- trains. Runs by goose and by psql like migration 1, after migration 2.

set role fabric_owner;

create table fabric.privacy_budget (
  tenant        fabric.name      not null,
  feature       fabric.name      not null,
  epsilon_limit double precision not null check (epsilon_limit > 0 and epsilon_limit <= 300),
  delta         double precision not null check (delta > 0 and delta <= 0.01),
  reservations  bigint           not null default 0,
  set_by        text             not null default '',
  set_at        timestamptz      not null default now(),
  primary key (tenant, feature)
);
comment on table  fabric.privacy_budget               is 'How much all rounds together may tell of one contributor to a feature. A feature without a row has no budget.';
comment on column fabric.privacy_budget.tenant        is 'Owner of the feature.';
comment on column fabric.privacy_budget.feature       is 'Feature id.';
comment on column fabric.privacy_budget.epsilon_limit is 'Largest epsilon, over every entry that counts.';
comment on column fabric.privacy_budget.delta         is 'The delta that epsilon is computed at.';
comment on column fabric.privacy_budget.reservations  is 'Counts reservations. Each changes the row before it reads the entries, so that none passes another at any isolation level.';
comment on column fabric.privacy_budget.set_by        is 'Subject of the token that set it; empty for the default that the first private round was given.';
comment on column fabric.privacy_budget.set_at        is 'When.';

create table fabric.privacy_entry (
  tenant      fabric.name not null,
  feature     fabric.name not null,
  owner       fabric.name not null,
  run         fabric.name not null,
  number      integer     not null,
  state       text        not null default 'reserved' check (state in ('reserved', 'committed', 'refunded')),
  events      jsonb       not null,
  reserved_at timestamptz not null default now(),
  closed_at   timestamptz,
  primary key (tenant, feature, owner, run, number),
  foreign key (tenant, feature) references fabric.privacy_budget (tenant, feature),
  check ((closed_at is null) = (state = 'reserved'))
);
create index privacy_entry_open on fabric.privacy_entry (tenant, owner, run, number) where state = 'reserved';
comment on table  fabric.privacy_entry             is 'What a round took from the budget of a feature. It is written with the round and closed with it; what is not refunded counts. The round is another tenant''s row, so no foreign key names it: both are written in one transaction.';
comment on column fabric.privacy_entry.tenant      is 'Owner of the feature.';
comment on column fabric.privacy_entry.feature     is 'Feature id.';
comment on column fabric.privacy_entry.owner       is 'Owner of the run.';
comment on column fabric.privacy_entry.run         is 'Run id.';
comment on column fabric.privacy_entry.number      is 'Round number.';
comment on column fabric.privacy_entry.state       is 'reserved, then once committed or refunded. A round that crashed stays reserved.';
comment on column fabric.privacy_entry.events      is 'Array of dp.Event.';
comment on column fabric.privacy_entry.reserved_at is 'When the round began.';
comment on column fabric.privacy_entry.closed_at   is 'When it ended.';

-- +goose StatementBegin
create function fabric.settled_once() returns trigger language plpgsql
  as $$ begin
    if tg_op = 'UPDATE' and old.state = 'reserved' and new.state <> 'reserved'
      and (old.tenant, old.feature, old.owner, old.run, old.number, old.events, old.reserved_at)
        = (new.tenant, new.feature, new.owner, new.run, new.number, new.events, new.reserved_at) then
      return new;
    end if;
    raise exception '% of a privacy entry is refused: it is settled once', tg_op using errcode = 'insufficient_privilege';
  end $$;
-- +goose StatementEnd
comment on function fabric.settled_once() is 'Guards what was taken from a privacy budget: nothing is taken out of the ledger, and nothing is given back twice.';
create trigger settled_once before update or delete on fabric.privacy_entry for each row execute function fabric.settled_once();
create trigger never_empty before truncate on fabric.privacy_entry for each statement execute function fabric.refuse_change();

-- ---------------------------------------------------------------- who may see and do what

-- +goose StatementBegin
do $policies$
declare
  t text;
begin
  foreach t in array array['privacy_budget', 'privacy_entry'] loop
    execute format('alter table fabric.%I enable row level security', t);
    execute format('alter table fabric.%I force row level security', t);
    execute format('create policy tenant on fabric.%I for all to fabric_app using (tenant = (select fabric.tenant())) with check (tenant = (select fabric.tenant()))', t);
    execute format('create policy system on fabric.%I for all to fabric_system using (true) with check (true)', t);
  end loop;
end
$policies$;
-- +goose StatementEnd

grant select, insert, update on fabric.privacy_budget, fabric.privacy_entry to fabric_app;
grant select on fabric.privacy_budget, fabric.privacy_entry to fabric_system;

insert into fabric.schema_version (version) values (3);
reset role;
