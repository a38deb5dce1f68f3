-- +goose Up
-- Fabric, migration 2: rounds whose sites are summed behind masks.
--
-- A round is divided into groups, and a group of a secured round goes through
-- five stages; from the second one on, a stage is for the members that are
-- still there. Runs by goose and by psql like migration 1, after it.

set role fabric_owner;

-- ---------------------------------------------------------------- groups
-- The owner sees no rows, so old ones keep the empty default.

alter table fabric.cohort
  add column host text not null default '',
  add column home text not null default '';
comment on column fabric.cohort.region is 'Group that the site answers in; mostly called like the region that sums it.';
comment on column fabric.cohort.host   is 'Region whose worker sums the group; empty: the one that it is called like.';
comment on column fabric.cohort.home   is 'Region of the site itself, where it waits for work; empty: the same.';
comment on column fabric.stage.region      is 'Group whose stage this is.';
comment on column fabric.submission.region is 'Group of the stage.';

alter table fabric.round add column state jsonb not null default '{}';
comment on column fabric.round.state is 'Descriptor of the server''s optimiser state that the round starts from: sites of some strategies ask for it.';

-- ---------------------------------------------------------------- stages

alter table fabric.stage
  drop constraint stage_stage_check,
  add constraint stage_stage_check check (stage in ('update', 'advertise', 'share', 'mask', 'check', 'unmask'));
comment on table  fabric.stage       is 'A group''s part of a round, one row a step: what its sites are asked, and until when.';
comment on column fabric.stage.stage is 'update is the only step of a plain round; advertise, share, mask, check and unmask are those of a secured one.';
comment on column fabric.stage.sites is 'How many sites are asked in this step.';

alter table fabric.submission add column message jsonb not null default '{}';
comment on column fabric.submission.update  is 'Descriptor of the update, or of the masked vector; {} where there is none.';
comment on column fabric.submission.metrics is 'round.Metrics of the site; all zero in a secured round.';
comment on column fabric.submission.message is 'Descriptor of what the site says to the protocol of a secured round; {} in a plain one.';

create table fabric.stage_member (
  tenant       fabric.name not null,
  run          fabric.name not null,
  number       integer     not null,
  stage        text        not null check (stage in ('share', 'mask', 'check', 'unmask')),
  region       fabric.name not null,
  site_tenant  fabric.name not null,
  site         fabric.name not null,
  inbox        jsonb       not null default '{}',
  inbox_digest text generated always as (inbox ->> 'digest') stored,
  primary key (tenant, run, number, stage, site_tenant, site),
  foreign key (tenant, run, number, stage, region) references fabric.stage (tenant, run, number, stage, region),
  foreign key (tenant, run, number, site_tenant, site) references fabric.cohort (tenant, run, number, site_tenant, site)
);
comment on table  fabric.stage_member              is 'Who is asked in a stage after the first, written with the stage. Nobody else may answer. Only grows.';
comment on column fabric.stage_member.tenant       is 'Owner of the run.';
comment on column fabric.stage_member.run          is 'Run id.';
comment on column fabric.stage_member.number       is 'Round number.';
comment on column fabric.stage_member.stage        is 'Step within the round.';
comment on column fabric.stage_member.region       is 'Group.';
comment on column fabric.stage_member.site_tenant  is 'Tenant of the site.';
comment on column fabric.stage_member.site         is 'Site id.';
comment on column fabric.stage_member.inbox        is 'Descriptor of what the site is given for this step.';
comment on column fabric.stage_member.inbox_digest is 'Digest of inbox: sites ask for it by this.';
create trigger only_grows before update or delete or truncate on fabric.stage_member for each statement execute function fabric.refuse_change();

create table fabric.survivors (
  tenant       fabric.name not null,
  run          fabric.name not null,
  number       integer     not null,
  region       fabric.name not null,
  stage        text        not null default 'mask' check (stage = 'mask'),
  set          jsonb       not null,
  committed_at timestamptz not null default now(),
  primary key (tenant, run, number, region),
  foreign key (tenant, run, number, stage, region) references fabric.stage (tenant, run, number, stage, region)
);
comment on table  fabric.survivors              is 'Whose masked vectors are summed: one set a group, ever. A second one would let its author ask a site for both kinds of share of one peer. Only grows.';
comment on column fabric.survivors.tenant       is 'Owner of the run.';
comment on column fabric.survivors.run          is 'Run id.';
comment on column fabric.survivors.number       is 'Round number.';
comment on column fabric.survivors.region       is 'Group.';
comment on column fabric.survivors.stage        is 'Always mask: the step that the vectors came in, which must have been.';
comment on column fabric.survivors.set          is 'Descriptor of the set.';
comment on column fabric.survivors.committed_at is 'When.';
create trigger only_grows before update or delete or truncate on fabric.survivors for each statement execute function fabric.refuse_change();

-- ---------------------------------------------------------------- who may see and do what

-- +goose StatementBegin
do $policies$
declare
  t text;
begin
  foreach t in array array['stage_member', 'survivors'] loop
    execute format('alter table fabric.%I enable row level security', t);
    execute format('alter table fabric.%I force row level security', t);
    execute format('create policy tenant on fabric.%I for all to fabric_app using (tenant = (select fabric.tenant())) with check (tenant = (select fabric.tenant()))', t);
    execute format('create policy system on fabric.%I for all to fabric_system using (true) with check (true)', t);
  end loop;
end
$policies$;
-- +goose StatementEnd

grant select, insert on fabric.stage_member, fabric.survivors to fabric_app;
grant select on fabric.stage_member to fabric_system;

insert into fabric.schema_version (version) values (2);
reset role;
