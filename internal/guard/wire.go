// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// The service on the socket. Its messages are JSON in a protobuf bytes value:
// ttrpc wants protobuf, the two ends are this package, and names instead of
// numbers let a guard and a collector of different builds understand or refuse
// each other. An action that needs a field which an older guard would pass over
// is an action that it does not know either.
const (
	serviceName  = "reflex.guard.v1.Guard"
	methodAct    = "Act"
	methodStatus = "Status"
	methodLeases = "Leases"
)

type wireOrder struct {
	Cgroup     uint64 `json:"cgroup"`
	Device     uint64 `json:"device,omitempty"`
	Interface  uint32 `json:"interface,omitempty"`
	Action     string `json:"action"`
	Verb       string `json:"verb"`
	Observe    bool   `json:"observe"`
	NoWayIn    bool   `json:"no_way_in,omitempty"`
	Parameter  uint64 `json:"parameter"`
	TTL        int64  `json:"ttl_ns"`
	Generation uint64 `json:"generation"`
	Scheduled  int64  `json:"scheduled_ns"`
	Reason     string `json:"reason"`
}

type wireOutcome struct {
	Verdict  string `json:"verdict"`
	Original uint64 `json:"original"`
	Value    uint64 `json:"value"`
	Written  int64  `json:"written_ns"`
	Deadline int64  `json:"deadline_ns"`
	Cause    string `json:"cause"`
}

func toWire(o *arc.Order) wireOrder {
	return wireOrder{
		Cgroup: o.Cgroup, Device: o.Device, Interface: o.Interface, Action: o.Action.String(), Verb: o.Verb.String(), Observe: o.Observe, NoWayIn: o.NoWayIn, Parameter: o.Parameter,
		TTL: o.TTL, Generation: o.Generation, Scheduled: o.Scheduled, Reason: o.Reason,
	}
}

// order refuses words it does not know: a guess would be an action nobody asked
// for.
func (w *wireOrder) order() (arc.Order, error) {
	o := arc.Order{
		Cgroup: w.Cgroup, Device: w.Device, Interface: w.Interface, Observe: w.Observe, NoWayIn: w.NoWayIn, Parameter: w.Parameter,
		TTL: w.TTL, Generation: w.Generation, Scheduled: w.Scheduled, Reason: w.Reason,
	}
	var known bool
	if o.Action, known = arc.ParseAction(w.Action); !known {
		return o, fmt.Errorf(arc.RefusedAction+" %q", w.Action)
	}
	switch w.Verb {
	case arc.Hold.String():
		o.Verb = arc.Hold
	case arc.Release.String():
		o.Verb = arc.Release
	default:
		return o, fmt.Errorf("the guard has no verb %q", w.Verb)
	}
	return o, nil
}

func outcomeToWire(out *arc.Outcome) wireOutcome {
	return wireOutcome{
		Verdict: out.Verdict.String(), Original: out.Original, Value: out.Value,
		Written: out.Written, Deadline: out.Deadline, Cause: out.Cause,
	}
}

func (w *wireOutcome) outcome() (arc.Outcome, error) {
	out := arc.Outcome{Original: w.Original, Value: w.Value, Written: w.Written, Deadline: w.Deadline, Cause: w.Cause}
	for v := arc.VerdictNone + 1; v.String() != "unknown"; v++ {
		if v.String() == w.Verdict {
			out.Verdict = v
			return out, nil
		}
	}
	return out, fmt.Errorf("the guard answered with the unknown verdict %q", w.Verdict)
}

func pack(v any) (*wrapperspb.BytesValue, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	return wrapperspb.Bytes(text), nil
}

func unpack(m *wrapperspb.BytesValue, v any) error {
	if err := json.Unmarshal(m.GetValue(), v); err != nil {
		return fmt.Errorf("decode message: %w", err)
	}
	return nil
}
