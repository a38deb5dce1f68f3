package pgserver

import (
	"bufio"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStartRefusesTheDirectory(t *testing.T) {
	b, err := Find()
	require.NoError(t, err)
	root := place(t)
	file := filepath.Join(root, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	closed := filepath.Join(root, "closed")
	require.NoError(t, os.Mkdir(closed, 0o500))
	// Root may write anywhere, but gives the server to a user who may not
	// search what is closed to others; everyone else may not write there.
	closedErr, closedText := error(syscall.EACCES), "permission denied"
	if os.Geteuid() == 0 {
		closedErr, closedText = ErrUnreachable, "may not pass "+closed+": chmod o+x "+closed
	}
	long := filepath.Join(root, strings.Repeat("x", 100))
	other := filepath.Join(root, "other")
	require.NoError(t, os.MkdirAll(filepath.Join(other, "data"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(other, "data", "PG_VERSION"), []byte("14\n"), 0o644))
	full := filepath.Join(root, "full")
	require.NoError(t, os.MkdirAll(filepath.Join(full, "data", "mine"), 0o755))

	tests := []struct {
		name, dir string
		want      error
		text      string
	}{
		{"none given", "", os.ErrInvalid, "name a directory"},
		{"a file", file, syscall.ENOTDIR, "not a directory"},
		{"below a file", filepath.Join(file, "pg"), syscall.ENOTDIR, "not a directory"},
		{"closed to the server", filepath.Join(closed, "pg"), closedErr, closedText},
		{"too long for a socket", long, ErrSocketPath, "bytes shorter"},
		{"of another version", other, ErrVersion, "it is of version 14, the server of version " + b.Version},
		{"with other people's files", full, syscall.EEXIST, full},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Start(t.Context(), Options{Dir: tt.dir, Binaries: b, Fast: true})
			var bad *DirError
			require.ErrorAs(t, err, &bad)
			require.ErrorIs(t, err, tt.want)
			require.ErrorContains(t, err, tt.text)
		})
	}
	require.DirExists(t, filepath.Join(full, "data", "mine"))
}

// 103 bytes is a socket's path on the strictest system: one byte fewer than
// macOS's sun_path holds with its terminator (sys/un.h, char[104]).
func TestSocketPathLimit(t *testing.T) {
	const socket = "/run/.s.PGSQL.5432"
	longest := "/" + strings.Repeat("x", 103-1-len(socket))
	_, err := pathsOf(longest)
	require.NoError(t, err)
	_, err = pathsOf(longest + "x")
	require.ErrorIs(t, err, ErrSocketPath)
	require.ErrorContains(t, err, "1 bytes shorter")
}

func TestFailedStartShowsTheLog(t *testing.T) {
	dir := place(t)
	s := begin(t, Options{Dir: dir, Fast: true})
	require.NoError(t, s.Stop(t.Context()))
	conf := filepath.Join(s.paths.data, "postgresql.conf")
	require.NoError(t, os.WriteFile(conf, []byte("no_such_setting = 1\n"), 0o600))
	_, err := Start(t.Context(), Options{Dir: dir, Fast: true})
	require.ErrorIs(t, err, ErrExited)
	require.ErrorContains(t, err, `unrecognized configuration parameter "no_such_setting"`)
	require.NotContains(t, err.Error(), "database system is shut down", "that was the run before")
}

func TestFailedInitShowsWhy(t *testing.T) {
	root := place(t)
	broken := install(t, filepath.Join(root, "bin"), "15.1", "15.1")
	script := "#!/bin/sh\n[ \"$1\" = --version ] && echo 'initdb (PostgreSQL) 15.1' && exit\n" +
		"echo 'initdb: error: could not look up effective user ID 54321: user does not exist' >&2; exit 1\n"
	require.NoError(t, os.WriteFile(filepath.Join(broken, "initdb"), []byte(script), 0o755))
	b, err := inspect(broken)
	require.NoError(t, err)
	_, err = Start(t.Context(), Options{Dir: filepath.Join(root, "pg"), Binaries: b})
	require.ErrorIs(t, err, ErrExited)
	require.ErrorContains(t, err, "effective user ID 54321")
	require.ErrorContains(t, err, "hint: run as a user that /etc/passwd knows")
	require.NoDirExists(t, filepath.Join(root, "pg", "data"))
}

func TestPlace(t *testing.T) {
	open := place(t)
	got, err := Place(filepath.Join(open, "not", "yet"))
	require.NoError(t, err)
	require.Equal(t, filepath.Join(open, "not", "yet"), got)

	closed := filepath.Join(open, "closed")
	require.NoError(t, os.Mkdir(closed, 0o700))
	want := filepath.Join(closed, "pg")
	if os.Geteuid() == 0 {
		want = filepath.Join("/var/lib/fabric", digest(want))
	}
	for range 2 {
		got, err = Place(filepath.Join(closed, "pg"))
		require.NoError(t, err)
		require.Equal(t, want, got, "the same every time")
	}
}

func TestPasses(t *testing.T) {
	dir := place(t)
	owner := os.Geteuid()
	group := os.Getegid()
	tests := []struct {
		name string
		mode os.FileMode
		who  account
		want bool
	}{
		{"owner", 0o100, account{uid: owner, gid: group}, true},
		{"owner, closed to itself only", 0o011, account{uid: owner, gid: group}, false},
		{"group", 0o010, account{uid: owner + 1, gid: group}, true},
		{"group, closed to it only", 0o101, account{uid: owner + 1, gid: group}, false},
		{"others", 0o001, account{uid: owner + 1, gid: group + 1}, true},
		{"others, closed to them only", 0o110, account{uid: owner + 1, gid: group + 1}, false},
		{"reading is not passing", 0o444, account{uid: owner + 1, gid: group + 1}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.NoError(t, os.Chmod(dir, tt.mode))
			info, err := os.Stat(dir)
			require.NoError(t, err)
			require.Equal(t, tt.want, tt.who.passes(info))
		})
	}
}

func TestPersuade(t *testing.T) {
	master := running{1, "/usr/lib/postgresql/15/bin/postgres -D /x -c cluster_name=c"}
	child := running{2, "postgres: c: checkpointer "}
	tests := []struct {
		name   string
		left   []running
		waited time.Duration
		whom   []running
		sig    syscall.Signal
	}{
		{"asks a postmaster at once, not its children", []running{child, master}, 0, []running{master}, syscall.SIGINT},
		{"crashes a postmaster that does not end", []running{child, master}, cleanFor, []running{master}, syscall.SIGQUIT},
		{"gives orphans a moment", []running{child}, 0, []running{child}, 0},
		{"then ends them", []running{child}, orphanFor, []running{child}, syscall.SIGQUIT},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			whom, sig := persuade(tt.left, tt.waited)
			require.Equal(t, tt.whom, whom)
			require.Equal(t, tt.sig, sig)
		})
	}
}

// The answers are byte for byte what the manual's "Message Formats" describes.
func TestProbe(t *testing.T) {
	auth := "R\x00\x00\x00\x08\x00\x00\x00\x00"
	tests := []struct{ name, answer, want string }{
		{"a session", auth + "Z\x00\x00\x00\x05I", ""},
		{"starting up", "E\x00\x00\x00\x1fSFATAL\x00C57P03\x00Mnot yet\x00R_\x00\x00", "server answered: not yet"},
		{"not PostgreSQL", "HTTP/1.1 400 Bad Request", "of 1414811695 bytes"},
		{"a length below its own", "R\x00\x00\x00\x03", "of 3 bytes"},
		{"the end within a message", auth + "Z\x00\x00", "unexpected EOF"},
		{"nothing", "", "EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			socket := filepath.Join(place(t), "s")
			l, err := net.Listen("unix", socket)
			require.NoError(t, err)
			defer l.Close()
			asked := make(chan string, 2)
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, body, _ := message(bufio.NewReader(io.MultiReader(strings.NewReader("?"), conn))) // the first message has no kind
				asked <- body
				_, _ = conn.Write([]byte(tt.answer))
				_ = conn.(*net.UnixConn).CloseWrite()
				bye, _ := io.ReadAll(conn)
				asked <- string(bye)
			}()
			err = probe(t.Context(), socket)
			require.Equal(t, "\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00", <-asked)
			if tt.want == "" {
				require.NoError(t, err)
				require.Equal(t, "X\x00\x00\x00\x04", <-asked, "it takes its leave")
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}
