-- +goose Up
-- Fabric, migration 8: aliases of models, every move of them, and what else is
-- signed about a version.
--
-- Runs by goose and by psql like migration 1, after migration 7.

set role fabric_owner;

alter table fabric.model_version add column files_bundle jsonb not null default '{}';
alter table fabric.model_version add column signature    jsonb not null default '{}';
comment on column fabric.model_version.files_bundle is 'Descriptor of the bundle over its files: OpenSSF Model Signing.';
comment on column fabric.model_version.signature    is 'Descriptor of the cosign signature over its manifest.';

create table fabric.alias_move (
  tenant      fabric.name not null,
  model       fabric.name not null,
  environment text        not null check (environment in ('dev', 'staging', 'production')),
  alias       text        not null check (alias ~ '^[a-z][a-z0-9]*(-[a-z0-9]+)*$' and length(alias) <= 63),
  sequence    bigint      not null check (sequence > 0),
  number      integer     not null,
  package     text        not null,
  previous    text        not null default '',
  bundle      jsonb       not null,
  actor       text        not null,
  action      text        not null default '',
  at          timestamptz not null default clock_timestamp(),
  primary key (tenant, model, environment, alias, sequence),
  foreign key (tenant, model, number) references fabric.model_version (tenant, model, number)
);
comment on table  fabric.alias_move             is 'Every move of an alias to a version; the newest is where it stands. Only grows.';
comment on column fabric.alias_move.tenant      is 'Owner.';
comment on column fabric.alias_move.model       is 'Model id.';
comment on column fabric.alias_move.environment is 'dev, staging or production.';
comment on column fabric.alias_move.alias       is 'champion (what the environment serves), challenger, or a name of the tenant''s own.';
comment on column fabric.alias_move.sequence    is 'Counts the moves of this alias from 1: a statement that was signed for one move is of no use for another.';
comment on column fabric.alias_move.number      is 'Version that it names since.';
comment on column fabric.alias_move.package     is 'Digest of that version''s package.';
comment on column fabric.alias_move.previous    is 'Digest of the package that it named before; empty at first.';
comment on column fabric.alias_move.bundle      is 'Descriptor of the bundle that moved it: the statement of a promotion, or of an alias.';
comment on column fabric.alias_move.actor       is 'Who asked; fabric for a promotion.';
comment on column fabric.alias_move.action      is 'Promotion that moved it; empty for others.';
comment on column fabric.alias_move.at          is 'When.';

alter table fabric.alias_move enable row level security;
alter table fabric.alias_move force row level security;
create policy tenant on fabric.alias_move for all to fabric_app using (tenant = (select fabric.tenant())) with check (tenant = (select fabric.tenant()));
create policy system on fabric.alias_move for all to fabric_system using (true) with check (true);
grant select, insert on fabric.alias_move to fabric_app;
grant select on fabric.alias_move to fabric_system;

-- Where champions stand today is their first move. The owner is bound by the
-- policies like everybody, and there is none for it.
alter table fabric.model_alias   no force row level security;
alter table fabric.model_version no force row level security;
alter table fabric.action        no force row level security;
alter table fabric.alias_move    no force row level security;
insert into fabric.alias_move (tenant, model, environment, alias, sequence, number, package, bundle, actor, action, at)
select a.tenant, a.model, a.environment, 'champion', 1, a.number, v.package_digest, coalesce(p.bundle, '{}'), 'fabric', a.action, a.at
from fabric.model_alias a
join fabric.model_version v on v.tenant = a.tenant and v.model = a.model and v.number = a.number
left join fabric.action p on p.tenant = a.tenant and p.id = a.action;
alter table fabric.model_alias   force row level security;
alter table fabric.model_version force row level security;
alter table fabric.action        force row level security;
alter table fabric.alias_move    force row level security;

create trigger only_grows before update or delete or truncate on fabric.alias_move for each statement execute function fabric.refuse_change();

insert into fabric.schema_version (version) values (8);
reset role;
