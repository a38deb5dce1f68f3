-- +goose Up
-- Fabric, migration 20: statistics of versions of features, under differential
-- privacy and out of the same budget.
--
-- Runs by goose and by psql like migration 1, after migration 19.

set role fabric_owner;

create table fabric.statistics (
  tenant    fabric.name not null,
  feature   fabric.name not null,
  version   integer     not null check (version > 0),
  attempt   integer     not null check (attempt > 0),
  state     text        not null check (state in ('waiting', 'open', 'shut', 'published', 'insufficient', 'failed')),
  cause     text        not null default '',
  question  text        not null check (question::json is not null),
  sites     text[]      not null default '{}',
  seconds   integer     not null check (seconds > 0),
  document  jsonb       not null default '{}',
  bundle    jsonb       not null default '{}',
  release   jsonb       not null default '{}',
  deadline  timestamptz,
  actor     text        not null,
  simulated boolean     not null default false,
  trace_id  text        not null default '',
  asked_at  timestamptz not null default now(),
  ended_at  timestamptz,
  primary key (tenant, feature, version, attempt),
  foreign key (tenant, feature, version) references fabric.feature (tenant, id, version),
  check ((ended_at is null) = (state in ('waiting', 'open', 'shut')))
);
create unique index statistics_once on fabric.statistics (tenant, feature, version) where state <> 'failed';
create index statistics_open on fabric.statistics (tenant) where state = 'open';
comment on table  fabric.statistics           is 'What was asked, charged and published about the rows behind a version of a feature: once for a version, but for attempts that failed.';
comment on column fabric.statistics.tenant    is 'Owner of the feature, and of the sites.';
comment on column fabric.statistics.feature   is 'Feature id.';
comment on column fabric.statistics.version   is 'Version that it is about.';
comment on column fabric.statistics.attempt   is 'Counts from 1. The budget''s entry is of run statistics-<version> with this number.';
comment on column fabric.statistics.state     is 'waiting for the question to be signed, open to sites, shut; then once published, insufficient (too few rows) or failed.';
comment on column fabric.statistics.cause     is 'Why it is insufficient or failed, in words for the owner.';
comment on column fabric.statistics.question  is 'Canonical bytes of the question: text, because jsonb would not keep them. Complete when it is open.';
comment on column fabric.statistics.sites     is 'Sites that are asked.';
comment on column fabric.statistics.seconds   is 'How long they have.';
comment on column fabric.statistics.document  is 'Descriptor of the question as it is signed; {} before it is open.';
comment on column fabric.statistics.bundle    is 'Descriptor of the bundle over it.';
comment on column fabric.statistics.release   is 'Descriptor of what is published; {} before, and when nothing is.';
comment on column fabric.statistics.deadline  is 'Until when sites may answer; null before it is open.';
comment on column fabric.statistics.actor     is 'Subject of the token that asked.';
comment on column fabric.statistics.simulated is 'Asked by a simulated caller.';
comment on column fabric.statistics.trace_id  is 'The global trace id.';
comment on column fabric.statistics.asked_at  is 'When it was asked for and charged.';
comment on column fabric.statistics.ended_at  is 'When it ended.';

create table fabric.statistics_answer (
  tenant    fabric.name   not null,
  feature   fabric.name   not null,
  version   integer       not null,
  attempt   integer       not null,
  site      fabric.name   not null,
  document  text          not null check (document::json is not null),
  refused   text          not null default '',
  statement fabric.digest not null,
  bundle    jsonb         not null,
  at        timestamptz   not null default now(),
  primary key (tenant, feature, version, attempt, site),
  foreign key (tenant, feature, version, attempt) references fabric.statistics (tenant, feature, version, attempt)
);
comment on table  fabric.statistics_answer           is 'What sites answered: noised numbers, or why none. Only grows.';
comment on column fabric.statistics_answer.tenant    is 'Owner of the feature, and of the site.';
comment on column fabric.statistics_answer.feature   is 'Feature id.';
comment on column fabric.statistics_answer.version   is 'Version that it is about.';
comment on column fabric.statistics_answer.attempt   is 'Attempt that it answers.';
comment on column fabric.statistics_answer.site      is 'Site id.';
comment on column fabric.statistics_answer.document  is 'The answer as the site signed it.';
comment on column fabric.statistics_answer.refused   is 'Why there are no numbers; empty when there are.';
comment on column fabric.statistics_answer.statement is 'Identity of the site''s statement.';
comment on column fabric.statistics_answer.bundle    is 'Descriptor of the site''s bundle.';
comment on column fabric.statistics_answer.at        is 'When it was taken.';
create trigger only_grows before update or delete or truncate on fabric.statistics_answer for each statement execute function fabric.refuse_change();

-- What was published stays published, and what was asked for is not taken out.
-- +goose StatementBegin
create function fabric.published_once() returns trigger language plpgsql
  as $$ begin
    if tg_op = 'UPDATE' and old.state in ('waiting', 'open', 'shut')
      and (old.tenant, old.feature, old.version, old.attempt, old.asked_at) = (new.tenant, new.feature, new.version, new.attempt, new.asked_at)
      and (old.document = '{}' or (old.question, old.sites, old.document, old.bundle) = (new.question, new.sites, new.document, new.bundle)) then
      return new;
    end if;
    raise exception '% of statistics is refused: they are asked and published once', tg_op using errcode = 'insufficient_privilege';
  end $$;
-- +goose StatementEnd
comment on function fabric.published_once() is 'Guards published statistics: a question that sites saw does not change, and an end is the end.';
create trigger published_once before update or delete on fabric.statistics for each row execute function fabric.published_once();
create trigger never_empty before truncate on fabric.statistics for each statement execute function fabric.refuse_change();

comment on column fabric.privacy_entry.run    is 'Run id; statistics-<version> for published statistics.';
comment on column fabric.privacy_entry.number is 'Round number; the attempt of published statistics.';

-- ---------------------------------------------------------------- who may see and do what

-- +goose StatementBegin
do $policies$
declare
  t text;
begin
  foreach t in array array['statistics', 'statistics_answer'] loop
    execute format('alter table fabric.%I enable row level security', t);
    execute format('alter table fabric.%I force row level security', t);
    execute format('create policy tenant on fabric.%I for all to fabric_app using (tenant = (select fabric.tenant())) with check (tenant = (select fabric.tenant()))', t);
    execute format('create policy system on fabric.%I for all to fabric_system using (true) with check (true)', t);
  end loop;
end
$policies$;
-- +goose StatementEnd

grant select, insert, update on fabric.statistics to fabric_app;
grant select, insert on fabric.statistics_answer to fabric_app;
grant select on fabric.statistics, fabric.statistics_answer to fabric_system;

insert into fabric.schema_version (version) values (20);
reset role;
