// Command transit serves Vault's real transit secrets engine over HTTP, for
// tests: the engine's own code, with its storage in memory, behind as much of
// Vault's HTTP API as its clients use. It is no Vault: there is one token, no
// policy, no audit device, and nothing survives its end.
//
// Invariant: a request without the token reaches nothing, and every answer
// about a key is the engine's own.
package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	log "github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/sdk/logical"
)

func main() {
	if err := run(os.Args[1:], os.Getenv("TRANSIT_TOKEN"), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "transit: "+err.Error())
		os.Exit(1)
	}
}

// run serves until it is interrupted. The first line that it prints is its URL.
func run(args []string, token string, out io.Writer) error {
	if len(args) != 2 || token == "" {
		return errors.New("usage: TRANSIT_TOKEN=... transit HOST:PORT MOUNT")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	front, err := newFront(ctx, args[1], token)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", args[0])
	if err != nil {
		return err
	}
	server := &http.Server{Handler: front, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	fmt.Fprintf(out, "http://%s\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// A front passes requests below its mount to the engine, one at a time.
type front struct {
	mount   string
	token   []byte
	mu      sync.Mutex
	engine  logical.Backend
	storage logical.Storage
}

func newFront(ctx context.Context, mount, token string) (*front, error) {
	storage := &logical.InmemStorage{}
	engine, err := transit.Factory(ctx, &logical.BackendConfig{
		StorageView: storage,
		System:      &logical.StaticSystemView{DefaultLeaseTTLVal: time.Hour, MaxLeaseTTLVal: 24 * time.Hour},
		Logger:      log.NewNullLogger(),
		BackendUUID: "00000000-0000-4000-8000-000000000000",
	})
	if err != nil {
		return nil, err
	}
	if err := engine.Initialize(ctx, &logical.InitializationRequest{Storage: storage}); err != nil {
		return nil, err
	}
	return &front{mount: strings.Trim(mount, "/"), token: []byte(token), engine: engine, storage: storage}, nil
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Vault-Token")), f.token) != 1 {
		refuse(w, http.StatusForbidden, "permission denied")
		return
	}
	path, ok := strings.CutPrefix(strings.TrimPrefix(r.URL.Path, "/v1/"), f.mount+"/")
	if !ok {
		refuse(w, http.StatusNotFound, "no handler for route "+r.URL.Path)
		return
	}
	req := &logical.Request{Path: path, Storage: f.storage, ClientToken: "test", MountPoint: f.mount + "/", Data: map[string]any{}}
	switch {
	case r.Method == "LIST" || r.Method == http.MethodGet && r.URL.Query().Get("list") == "true":
		req.Operation = logical.ListOperation
	case r.Method == http.MethodGet:
		req.Operation = logical.ReadOperation
	case r.Method == http.MethodDelete:
		req.Operation = logical.DeleteOperation
	case r.Method == http.MethodPut || r.Method == http.MethodPost:
		req.Operation = logical.UpdateOperation
	default:
		refuse(w, http.StatusMethodNotAllowed, "unsupported operation")
		return
	}
	if req.Operation == logical.UpdateOperation {
		body := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
		body.UseNumber()
		if err := body.Decode(&req.Data); err != nil && !errors.Is(err, io.EOF) {
			refuse(w, http.StatusBadRequest, "failed to parse JSON input")
			return
		}
	}
	f.handle(w, r, req)
}

// handle asks the engine and answers as Vault's HTTP layer does.
func (f *front) handle(w http.ResponseWriter, r *http.Request, req *logical.Request) {
	f.mu.Lock()
	if req.Operation == logical.UpdateOperation {
		if checks, exists, err := f.engine.HandleExistenceCheck(r.Context(), req); err == nil && checks && !exists {
			req.Operation = logical.CreateOperation
		}
	}
	resp, err := f.engine.HandleRequest(r.Context(), req)
	f.mu.Unlock()
	switch {
	case resp != nil && resp.IsError():
		refuse(w, http.StatusBadRequest, resp.Error().Error())
	case errors.Is(err, logical.ErrUnsupportedPath):
		refuse(w, http.StatusNotFound, err.Error())
	case err != nil:
		refuse(w, http.StatusInternalServerError, err.Error())
	case resp == nil && req.Operation == logical.ReadOperation:
		refuse(w, http.StatusNotFound)
	case resp == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		answer(w, http.StatusOK, map[string]any{"request_id": "test", "data": resp.Data, "warnings": resp.Warnings})
	}
}

func refuse(w http.ResponseWriter, status int, why ...string) {
	if why == nil {
		why = []string{}
	}
	answer(w, status, map[string]any{"errors": why})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		fmt.Fprintln(os.Stderr, "transit: answer: "+err.Error())
	}
}
