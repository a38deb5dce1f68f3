package pgserver

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// probe opens a session on the socket and closes it again. It speaks just
// enough of the frontend/backend protocol, version 3.0 (PostgreSQL manual,
// "Message Formats"), to spare this package a client library. The port opens
// before the server takes sessions, so a connection alone says nothing.
func probe(ctx context.Context, socket string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	const version = 3 << 16
	body := binary.BigEndian.AppendUint32(nil, version)
	body = append(body, "user\x00"+Superuser+"\x00database\x00postgres\x00\x00"...)
	hello := binary.BigEndian.AppendUint32(nil, uint32(4+len(body)))
	if _, err := conn.Write(append(hello, body...)); err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	for {
		kind, text, err := message(r)
		switch {
		case err != nil:
			return err
		case kind == 'E': // for example 57P03, the database system is starting up
			return fmt.Errorf("server answered: %s", field(text, 'M'))
		case kind == 'Z': // ready for a query
			_, err := conn.Write([]byte{'X', 0, 0, 0, 4})
			return err
		}
	}
}

// message reads one: a kind, a length that counts itself, and the rest.
func message(r *bufio.Reader) (kind byte, body string, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, "", err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n < 4 || n > 1<<16 {
		return 0, "", fmt.Errorf("message %q of %d bytes", head[0], n)
	}
	rest := make([]byte, n-4)
	_, err = io.ReadFull(r, rest)
	return head[0], string(rest), err
}

// field is one of an error's fields: a code byte, text, a zero byte.
func field(body string, code byte) string {
	for _, f := range strings.Split(body, "\x00") {
		if f != "" && f[0] == code {
			return f[1:]
		}
	}
	return "an error without text"
}
