// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/policy"
	"github.com/otelcol-reflex/reflex/internal/unixsocket"
)

const (
	// operateWithin is how long an operator's order waits for a tick.
	operateWithin = 2 * time.Second
	maxOrder      = 4 << 10
	// maxWhy bounds an operator's reason and what was done, in bytes each.
	maxWhy = 120
	// mostHandsOff bounds for how long an operator keeps hands off.
	mostHandsOff = 7 * 24 * time.Hour
)

// OperatorOrder is the JSON that an operator posts to /operator. Its keys are
// an interface: reflexctl writes them.
type OperatorOrder struct {
	// Action is "release" (give back what is held and keep hands off), or
	// "record" for what was done elsewhere and belongs in the journal.
	Action string `json:"action"`
	// Cgroup is the kernel's id and Path where it is, for people. All means
	// every cgroup.
	Cgroup uint64 `json:"cgroup,omitempty"`
	Path   string `json:"path,omitempty"`
	All    bool   `json:"all,omitempty"`
	// For is how many seconds to keep hands off; 0 is this episode.
	For float64 `json:"for,omitempty"`
	// What was done, for "record".
	What string `json:"what,omitempty"`
	// Reason is the operator's own.
	Reason string `json:"reason,omitempty"`
}

// OperatorAnswer is the answer to an order that was carried out.
type OperatorAnswer struct {
	// Record is the id of its record in the journal.
	Record uint64 `json:"record"`
}

func (o *OperatorOrder) validate() error {
	handsOff := time.Duration(o.For * float64(time.Second))
	switch {
	case len(o.Reason) > maxWhy || len(o.What) > maxWhy:
		return fmt.Errorf("what and reason may have %d bytes each", maxWhy)
	case o.Action == "record" && o.What == "":
		return errors.New("there is nothing to record")
	case o.Action == "record":
		return nil
	case o.Action != "release":
		return fmt.Errorf("action: must be release or record, is %q", o.Action)
	case (o.Cgroup == 0) != o.All:
		return errors.New("name one cgroup, or all")
	case !(o.For >= 0) || handsOff < 0 || handsOff > mostHandsOff:
		return fmt.Errorf("for: must be 0 to %s", mostHandsOff)
	}
	return nil
}

// say tells an order to people: who, what, why.
func (o *OperatorOrder) say(uid uint32) string {
	text := fmt.Sprintf("uid %d: ", uid)
	if o.Action == "record" {
		text += o.What
	} else {
		text += "release "
		switch {
		case o.All:
			text += "everything"
		case o.Path != "":
			text += o.Path
		default:
			text += fmt.Sprintf("cgroup %d", o.Cgroup)
		}
		text += ", hands off for "
		if o.For > 0 {
			text += time.Duration(o.For * float64(time.Second)).String()
		} else {
			text += "this episode"
		}
	}
	if o.Reason != "" {
		text += ": " + o.Reason
	}
	return text
}

// operators serves the operators of this machine on a unix socket, which a web
// page cannot reach and whose peer the kernel knows: what the status page
// serves, and POST /operator.
type operators struct {
	r      *reflex
	uid    int // besides root
	server *http.Server
	done   chan struct{}
}

type peerKey struct{}

// newOperators listens at the configured socket; nil where none is configured.
func newOperators(r *reflex, reads *page) (*operators, error) {
	if r.cfg.Operator.Socket == "" {
		return nil, nil
	}
	listen, err := unixsocket.Listen(r.cfg.Operator.Socket, -1)
	if err != nil {
		return nil, fmt.Errorf("listen for operators at %s: %w", r.cfg.Operator.Socket, err)
	}
	o := &operators{r: r, uid: os.Geteuid(), done: make(chan struct{})}
	mux := http.NewServeMux()
	reads.answers(mux)
	mux.HandleFunc("POST /operator", o.operate)
	o.server = newServer(o.admit(mux))
	o.server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		peer, err := unixsocket.Peer(c)
		if err != nil {
			return ctx // and so nobody is admitted
		}
		return context.WithValue(ctx, peerKey{}, peer.Uid)
	}
	go func() {
		defer close(o.done)
		if err := o.server.Serve(listen); !errors.Is(err, http.ErrServerClosed) {
			r.logger.Warn("the operators' socket ended", zap.Error(err))
		}
	}()
	return o, nil
}

// admit lets in root and the collector's own user.
func (o *operators) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if uid, known := req.Context().Value(peerKey{}).(uint32); !known || uid != 0 && int64(uid) != int64(o.uid) {
			http.Error(w, "only root and the collector's user are answered", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, req)
	})
}

func (o *operators) operate(w http.ResponseWriter, req *http.Request) {
	var order OperatorOrder
	decoder := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxOrder))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&order)
	if err == nil {
		err = order.validate()
	}
	if err != nil {
		http.Error(w, "order: "+err.Error(), http.StatusBadRequest)
		return
	}
	uid, _ := req.Context().Value(peerKey{}).(uint32)
	rec := episode.Record{
		Time: o.r.wall(), Episode: o.r.snap.read().Episode, Reason: order.say(uid),
		Cgroup: episode.Cgroup{ID: order.Cgroup, Path: order.Path},
	}
	if order.Action == "record" {
		writeJSON(w, o.r.logger, OperatorAnswer{o.r.told(rec, nil)})
		return
	}
	release := policy.HandsOff{Cgroup: order.Cgroup, All: order.All, Reason: fmt.Sprintf("by an operator (uid %d)", uid)}
	if order.Reason != "" {
		release.Reason += ": " + order.Reason
	}
	if order.For > 0 {
		release.Until = o.r.clock() + int64(order.For*float64(time.Second))
	}
	o.release(w, req, &operation{order: release, record: rec, done: make(chan operated, 1)})
}

// release hands an operation over and waits for the tick that takes it.
func (o *operators) release(w http.ResponseWriter, req *http.Request, op *operation) {
	late := time.NewTimer(operateWithin)
	defer late.Stop()
	err := errors.New("too many orders of operators wait already")
	if o.r.operations.post(op) {
		select {
		case got := <-op.done:
			if got.err != nil {
				http.Error(w, got.err.Error(), http.StatusConflict)
				return
			}
			writeJSON(w, o.r.logger, OperatorAnswer{got.record})
			return
		case <-late.C:
		case <-req.Context().Done():
		}
		err = fmt.Errorf("no sample came within %s to carry it out at", operateWithin)
		if !op.claim() { // a tick was quicker after all
			writeJSON(w, o.r.logger, OperatorAnswer{(<-op.done).record})
			return
		}
	}
	o.r.told(op.record, err)
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}

func (o *operators) close() error {
	err := closeServer(o.server)
	<-o.done
	return err
}
