-- +goose Up
-- Fabric, migration 7: updates that come a round or more late.
--
-- Runs by goose and by psql like migration 1, after migration 6.

set role fabric_owner;

alter table fabric.submission add column base_round integer not null default 0 check (base_round >= 0 and base_round <= number);
comment on column fabric.submission.base_round is 'Train round whose weights the update started from; 0: the one that it was sent in. Other than 0 only in plain rounds of a buffered run.';

-- What a site has learnt from one set of weights counts once in a run, whatever
-- the round, and however often an answer that got lost is sent again.
create unique index submission_counts_once on fabric.submission (tenant, run, site_tenant, site, coalesce(nullif(base_round, 0), number))
  where stage = 'update' and reason = '';

insert into fabric.schema_version (version) values (7);
reset role;
