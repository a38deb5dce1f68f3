package api_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/atom-fabric/fabric/internal/blob"
)

func TestZZDbg(t *testing.T) {
	c := chunks(t, blob.Limits{}, 0)
	content := random(3 << 20)
	c.piece(content, 0, 1<<20-1, c.auth).is(308)
	req, _ := http.NewRequestWithContext(t.Context(), "PUT", c.url+blobPath(content), bytes.NewReader(content[1<<20:3<<20]))
	c.auth(req)
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", 1<<20, 3<<20-1, 3<<20))
	conn, _ := net.Dial("tcp", c.url[7:])
	var buf bytes.Buffer
	req.Write(&buf)
	conn.Write(buf.Bytes()[:1<<20])
	conn.(*net.TCPConn).CloseWrite()
	all, _ := io.ReadAll(conn)
	fmt.Println(string(buf.Bytes()[:600-300]), string(all))
	fmt.Println(c.kept(content, c.auth).Header)
	fmt.Println(c.log.String())
}
