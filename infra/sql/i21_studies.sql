-- +goose Up
-- Fabric, migration 21: studies of training runs, their trials, and which run
-- tried what.
--
-- Runs by goose and by psql like migration 1, after migration 20.

set role fabric_owner;

create table fabric.study (
  tenant      fabric.name not null,
  id          fabric.name not null,
  model       fabric.name not null,
  environment text        not null check (environment in ('dev', 'staging')),
  requester   text        not null,
  spec        jsonb       not null,
  prior       jsonb       not null default '[]',
  base        jsonb       not null,
  rounds      integer     not null check (rounds >= 0),
  apply       boolean     not null default false,
  status      text        not null default 'running' check (status in ('running', 'completed', 'stopped', 'exhausted', 'failed')),
  cause       text        not null default '',
  best        integer     not null default 0 check (best >= 0),
  suggestion  text        not null default '',
  stop_asked  timestamptz,
  created_at  timestamptz not null default now(),
  ended_at    timestamptz,
  simulated   boolean     not null default false,
  trace_id    text        not null default '',
  primary key (tenant, id),
  check ((ended_at is null) = (status = 'running'))
);
create index study_model on fabric.study (tenant, model, id);
comment on table  fabric.study             is 'Studies of training parameters over training runs.';
comment on column fabric.study.tenant      is 'Owner of the study, its runs and their model.';
comment on column fabric.study.id          is 'study-<uuid v7>: sorts by time.';
comment on column fabric.study.model       is 'Model id.';
comment on column fabric.study.environment is 'What its suggestion is for. Studies are not made in production.';
comment on column fabric.study.requester   is 'Subject of the token that asked.';
comment on column fabric.study.spec        is 'tuning.Study.';
comment on column fabric.study.prior       is 'Trials of other studies and runs that it began with.';
comment on column fabric.study.base        is 'contract.RunInput of every run but for its point, its seed and its id.';
comment on column fabric.study.rounds      is 'Compute budget in train rounds; 0 for none.';
comment on column fabric.study.apply       is 'The suggestion is to be applied, as far as it may be.';
comment on column fabric.study.status      is 'running, or how it ended.';
comment on column fabric.study.cause       is 'Why it ended so, for its owner.';
comment on column fabric.study.best        is 'Number of the best trial when it ended; 0 for none.';
comment on column fabric.study.suggestion  is 'Id of the tuning that carries the best trial on; empty for none.';
comment on column fabric.study.stop_asked  is 'When a stop was asked for.';
comment on column fabric.study.created_at  is 'When it was accepted.';
comment on column fabric.study.ended_at    is 'When it ended.';
comment on column fabric.study.simulated   is 'Asked for by a simulated caller.';
comment on column fabric.study.trace_id    is 'The global trace id.';

create table fabric.study_trial (
  tenant     fabric.name        not null,
  study      fabric.name        not null,
  number     integer            not null check (number > 0),
  point      double precision[] not null,
  state      text               not null default 'ACTIVE' check (state in ('ACTIVE', 'SUCCEEDED', 'INFEASIBLE', 'STOPPED')),
  cause      text               not null default '',
  measured   double precision[] not null default '{}',
  limits     double precision[] not null default '{}',
  rungs      bigint[]           not null default '{}',
  ended      integer            not null default 0 check (ended >= 0),
  rounds     integer            not null default 0 check (rounds >= 0),
  created_at timestamptz        not null default now(),
  ended_at   timestamptz,
  primary key (tenant, study, number),
  unique (tenant, study, point),
  foreign key (tenant, study) references fabric.study (tenant, id),
  check ((ended_at is null) = (state = 'ACTIVE'))
);
comment on table  fabric.study_trial            is 'Trials of studies: no point twice.';
comment on column fabric.study_trial.tenant     is 'Owner of the study.';
comment on column fabric.study_trial.study      is 'Study id.';
comment on column fabric.study_trial.number     is 'From 1.';
comment on column fabric.study_trial.point      is 'What is tried, in the order of the space.';
comment on column fabric.study_trial.state      is 'As the Vizier API names it.';
comment on column fabric.study_trial.cause      is 'Why it is infeasible or was stopped.';
comment on column fabric.study_trial.measured   is 'Of the metric, one for each run that was measured.';
comment on column fabric.study_trial.limits     is 'Largest of the metric of each constraint.';
comment on column fabric.study_trial.rungs      is 'Losses at the rungs that it reached, in millionths.';
comment on column fabric.study_trial.ended      is 'Runs of it that are over.';
comment on column fabric.study_trial.rounds     is 'Train rounds that these ran.';
comment on column fabric.study_trial.created_at is 'When its point was chosen.';
comment on column fabric.study_trial.ended_at   is 'When it was over.';

create table fabric.study_run (
  tenant fabric.name not null,
  study  fabric.name not null,
  number integer     not null check (number > 0),
  repeat integer     not null check (repeat > 0),
  run    fabric.name not null,
  primary key (tenant, study, number, repeat),
  unique (tenant, run),
  foreign key (tenant, study, number) references fabric.study_trial (tenant, study, number),
  foreign key (tenant, run) references fabric.run (tenant, id)
);
comment on table  fabric.study_run        is 'Runs of trials: one for each repeat, however often a worker was killed. Only grows.';
comment on column fabric.study_run.tenant is 'Owner of the study.';
comment on column fabric.study_run.study  is 'Study id.';
comment on column fabric.study_run.number is 'Trial.';
comment on column fabric.study_run.repeat is 'Which of its runs, from 1.';
comment on column fabric.study_run.run    is 'Run id.';
create trigger only_grows before update or delete or truncate on fabric.study_run for each statement execute function fabric.refuse_change();

-- A run that tries a point says nothing about how good the model is: scorecards
-- and suggestions over finished runs leave it out.
alter table fabric.run add column study text not null default '';
comment on column fabric.run.study is 'Study that it is a trial of; empty for none.';
create or replace view fabric.trial with (security_invoker = true) as
  select tenant, model, id as run, params, metrics, status, ended_at
  from fabric.run where ended_at is not null and study = '';

-- +goose StatementBegin
do $policies$
declare
  t text;
begin
  foreach t in array array['study', 'study_trial', 'study_run'] loop
    execute format('alter table fabric.%I enable row level security', t);
    execute format('alter table fabric.%I force row level security', t);
    execute format('create policy tenant on fabric.%I for all to fabric_app using (tenant = (select fabric.tenant())) with check (tenant = (select fabric.tenant()))', t);
    execute format('create policy system on fabric.%I for all to fabric_system using (true) with check (true)', t);
  end loop;
end
$policies$;
-- +goose StatementEnd

grant select, insert, update on fabric.study, fabric.study_trial to fabric_app;
grant select, insert on fabric.study_run to fabric_app;

insert into fabric.schema_version (version) values (21);
reset role;
