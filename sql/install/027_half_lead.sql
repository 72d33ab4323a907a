-- It halves what a version is ahead of the clock, as a program of this version does.
drop function if exists bridge.version_upon(bigint, bigint, bigint);
