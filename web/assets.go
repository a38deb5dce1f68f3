package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/atom-fabric/fabric/domain/chart"
)

//go:embed assets/*
var assetFiles embed.FS

// assets are the files beside the pages, by name. Their address holds a piece
// of their digest, so that a browser may keep them for good.
type assets map[string]asset

type asset struct {
	content, zipped []byte
	media, version  string
}

func readAssets() (assets, error) {
	all := assets{}
	entries, err := fs.ReadDir(assetFiles, "assets")
	if err != nil {
		return nil, fmt.Errorf("assets: %w", err)
	}
	for _, e := range entries {
		content, err := assetFiles.ReadFile("assets/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("assets: %w", err)
		}
		sum := sha256.Sum256(content)
		a := asset{content: content, version: hex.EncodeToString(sum[:6])}
		switch path.Ext(e.Name()) { // what a machine's own table says may differ
		case ".js":
			a.media = "text/javascript; charset=utf-8"
		case ".css":
			a.media = "text/css; charset=utf-8"
		case ".svg":
			a.media = "image/svg+xml"
		default:
			a.media = "text/plain; charset=utf-8"
		}
		if a.zipped, err = gzipped(content); err != nil {
			return nil, fmt.Errorf("assets: %w", err)
		}
		all[e.Name()] = a
	}
	plots := asset{content: []byte(chart.Style), media: "text/css; charset=utf-8"}
	sum := sha256.Sum256(plots.content)
	plots.version = hex.EncodeToString(sum[:6])
	if plots.zipped, err = gzipped(plots.content); err != nil {
		return nil, fmt.Errorf("assets: %w", err)
	}
	all["chart.css"] = plots // one style of drawings, here and in reports
	return all, nil
}

func gzipped(content []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// url is the address of an asset, for templates.
func (all assets) url(name string) (string, error) {
	a, ok := all[name]
	if !ok {
		return "", fmt.Errorf("no asset %q", name)
	}
	return Path + "assets/" + name + "?v=" + a.version, nil
}

// ServeHTTP implements http.Handler.
func (all assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, ok := all[strings.TrimPrefix(r.URL.Path, Path+"assets/")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.media)
	h.Set("Vary", "Accept-Encoding")
	if r.URL.Query().Get("v") == a.version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	content := a.content
	if acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		content = a.zipped
	}
	_, _ = w.Write(content) // a reader that left
}

func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if name == "gzip" && strings.ReplaceAll(q, " ", "") != "q=0" {
			return true
		}
	}
	return false
}
