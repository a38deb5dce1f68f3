-- +goose Up
-- Fabric, migration 5: the signed head of the audit log.
--
-- Runs by goose and by psql like migration 1, after migration 4.

set role fabric_owner;

alter table fabric.audit_state add column note text not null default '' check (length(note) <= 65536);
comment on column fabric.audit_state.note is 'C2SP checkpoint over size and root, signed in the transaction of the last append; empty when whoever appended holds no log key.';

-- A head that nobody signed yet may be given its signature, and nothing else.
-- +goose StatementBegin
create or replace function fabric.only_forward() returns trigger language plpgsql
  as $$ begin
    if tg_op = 'UPDATE' and new.size > old.size then return new; end if;
    if tg_op = 'UPDATE' and old.note = '' and new.note <> '' and new.size = old.size
      and new.root = old.root and new.frontier = old.frontier then return new; end if;
    raise exception '% of the audit log''s head is refused: it only moves forward', tg_op using errcode = 'insufficient_privilege';
  end $$;
-- +goose StatementEnd

insert into fabric.schema_version (version) values (5);
reset role;
