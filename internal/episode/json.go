// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package episode

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// The JSON of a record is an interface to people's scripts: its keys stay.
// Names stand for levels, kinds, verdicts and actions, "max" for the absence of
// a limit, null for a number that is not finite, and what does not apply is
// left out. Durations are seconds; instants of CLOCK_BOOTTIME are nanoseconds
// and end in _ns.

type recordJSON struct {
	ID         uint64         `json:"id"`
	Kind       string         `json:"kind"`
	Time       time.Time      `json:"time"`
	Episode    string         `json:"episode"`
	Source     string         `json:"source,omitempty"`
	Sequence   uint64         `json:"sequence,omitempty"`
	Level      string         `json:"level"`
	Previous   string         `json:"previous"`
	Reason     string         `json:"reason,omitempty"`
	Judgement  *judgementJSON `json:"judgement,omitempty"`
	Cgroup     *cgroupJSON    `json:"cgroup,omitempty"`
	Order      *orderJSON     `json:"order,omitempty"`
	Outcome    *outcomeJSON   `json:"outcome,omitempty"`
	Harm       *harmJSON      `json:"harm,omitempty"`
	Onset      int64          `json:"onset_ns,omitempty"`
	Scheduled  int64          `json:"scheduled_ns,omitempty"`
	Written    int64          `json:"written_ns,omitempty"`
	TickToKnob float64        `json:"tick_to_knob,omitempty"` // derived, ignored when read
}

type judgementJSON struct {
	Sequence      uint64             `json:"sequence"`
	Decided       int64              `json:"decided_ns"`
	Ready         bool               `json:"ready"`
	Fresh         bool               `json:"fresh"`
	Anomalous     bool               `json:"anomalous"`
	Frozen        bool               `json:"frozen"`
	Distance      number             `json:"distance"`
	Score         number             `json:"score"`
	Limit         number             `json:"limit"`
	Velocity      number             `json:"velocity"`
	Acceleration  number             `json:"acceleration"`
	Direction     number             `json:"direction"`
	Regime        int8               `json:"regime"`
	Confidence    number             `json:"confidence"`
	Contributions []contributionJSON `json:"contributions,omitempty"`
}

type contributionJSON struct {
	Dimension string `json:"dimension"`
	Share     number `json:"share"`
	Value     number `json:"value"`
	Usual     number `json:"usual"`
}

type cgroupJSON struct {
	ID   uint64 `json:"id"`
	Path string `json:"path,omitempty"`
}

type orderJSON struct {
	Cgroup     uint64  `json:"cgroup"`
	Device     uint64  `json:"device,omitempty"`
	Interface  uint32  `json:"interface,omitempty"`
	Action     string  `json:"action"`
	Verb       string  `json:"verb"`
	Observe    bool    `json:"observe"`
	Parameter  size    `json:"parameter"`
	TTL        seconds `json:"ttl"`
	Generation uint64  `json:"generation"`
	Scheduled  int64   `json:"scheduled_ns,omitempty"`
	Reason     string  `json:"reason,omitempty"`
}

type outcomeJSON struct {
	Verdict  string `json:"verdict"`
	Original size   `json:"original"`
	Value    size   `json:"value"`
	Written  int64  `json:"written_ns,omitempty"`
	Deadline int64  `json:"deadline_ns,omitempty"`
	Cause    string `json:"cause,omitempty"`
}

type harmJSON struct {
	Kind       string  `json:"kind,omitempty"`
	Unit       string  `json:"unit,omitempty"`
	Available  size    `json:"available"`
	Limit      size    `json:"limit"`
	Growth     number  `json:"growth"`
	Exhaustion seconds `json:"exhaustion,omitempty"`
	Stall      number  `json:"stall,omitempty"`
}

// MarshalJSON writes the record with stable snake_case keys.
func (r Record) MarshalJSON() ([]byte, error) {
	out := recordJSON{
		ID: r.ID, Kind: r.Kind.String(), Time: r.Time, Episode: FormatID(r.Episode),
		Source: r.Source, Sequence: r.Sequence,
		Level: LevelName(r.Level), Previous: LevelName(r.Previous), Reason: r.Reason,
		Onset: r.Onset, Scheduled: r.Scheduled, Written: r.Written,
		TickToKnob: r.TickToKnob().Seconds(),
	}
	if r.Judgement != (arc.Judgement{}) {
		out.Judgement = newJudgementJSON(&r.Judgement)
	}
	if r.Cgroup != (Cgroup{}) {
		out.Cgroup = (*cgroupJSON)(&r.Cgroup)
	}
	if o := r.Order; o != nil {
		out.Order = &orderJSON{
			o.Cgroup, o.Device, o.Interface, o.Action.String(), o.Verb.String(), o.Observe, size(o.Parameter),
			seconds(o.TTL), o.Generation, o.Scheduled, o.Reason,
		}
	}
	if o := r.Outcome; o != nil {
		out.Outcome = &outcomeJSON{o.Verdict.String(), size(o.Original), size(o.Value), o.Written, o.Deadline, o.Cause}
	}
	if h := r.Harm; h != (Harm{}) {
		out.Harm = &harmJSON{h.Kind, h.Unit, size(h.Available), size(h.Limit), number(h.Growth), seconds(h.Exhaustion), number(h.Stall)}
	}
	return json.Marshal(out)
}

func newJudgementJSON(j *arc.Judgement) *judgementJSON {
	out := &judgementJSON{
		j.Sequence, j.Decided, j.Ready, j.Fresh, j.Anomalous, j.Frozen,
		number(j.Distance), number(j.Score), number(j.Limit), number(j.Velocity), number(j.Acceleration),
		number(j.Direction), j.Regime, number(j.Confidence), nil,
	}
	for _, c := range j.Contributions[:min(max(j.NumContributions, 0), arc.MaxContributions)] {
		out.Contributions = append(out.Contributions,
			contributionJSON{c.Dimension, number(c.Share), number(c.Value), number(c.Usual)})
	}
	return out
}

// UnmarshalJSON reads what MarshalJSON writes. A number that was not finite
// comes back as NaN. Names it does not know are an error.
func (r *Record) UnmarshalJSON(data []byte) error {
	var in recordJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	*r = Record{
		ID: in.ID, Time: in.Time, Source: in.Source, Sequence: in.Sequence, Reason: in.Reason,
		Onset: in.Onset, Scheduled: in.Scheduled, Written: in.Written,
	}
	var errs [6]error
	r.Kind, errs[0] = kindNamed(in.Kind)
	r.Level, errs[1] = levelNamed(in.Level)
	r.Previous, errs[2] = levelNamed(in.Previous)
	errs[3] = readID(&r.Episode, in.Episode)
	if in.Judgement != nil {
		in.Judgement.read(&r.Judgement)
	}
	if in.Cgroup != nil {
		r.Cgroup = Cgroup(*in.Cgroup)
	}
	r.Order, errs[4] = in.Order.read()
	r.Outcome, errs[5] = in.Outcome.read()
	if h := in.Harm; h != nil {
		r.Harm = Harm{h.Kind, h.Unit, uint64(h.Available), uint64(h.Limit), float64(h.Growth), time.Duration(h.Exhaustion), float64(h.Stall)}
	}
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("record %d: %w", in.ID, err)
	}
	return nil
}

func (in *judgementJSON) read(j *arc.Judgement) {
	*j = arc.Judgement{
		Sequence: in.Sequence, Decided: in.Decided, Ready: in.Ready, Fresh: in.Fresh,
		Anomalous: in.Anomalous, Frozen: in.Frozen,
		Distance: float64(in.Distance), Score: float64(in.Score), Limit: float64(in.Limit),
		Velocity: float64(in.Velocity), Acceleration: float64(in.Acceleration),
		Direction: float64(in.Direction), Regime: in.Regime, Confidence: float64(in.Confidence),
		NumContributions: min(len(in.Contributions), arc.MaxContributions),
	}
	for i, c := range in.Contributions[:j.NumContributions] {
		j.Contributions[i] = arc.Contribution{
			Dimension: c.Dimension, Share: float64(c.Share), Value: float64(c.Value), Usual: float64(c.Usual),
		}
	}
}

func (in *orderJSON) read() (*arc.Order, error) {
	if in == nil {
		return nil, nil
	}
	action, err := actionNamed(in.Action)
	verb, verbErr := verbNamed(in.Verb)
	return &arc.Order{
		Cgroup: in.Cgroup, Device: in.Device, Interface: in.Interface, Action: action, Verb: verb, Observe: in.Observe, Parameter: uint64(in.Parameter),
		TTL: int64(in.TTL), Generation: in.Generation, Scheduled: in.Scheduled, Reason: in.Reason,
	}, errors.Join(err, verbErr)
}

func (in *outcomeJSON) read() (*arc.Outcome, error) {
	if in == nil {
		return nil, nil
	}
	verdict, err := verdictNamed(in.Verdict)
	return &arc.Outcome{
		Verdict: verdict, Original: uint64(in.Original), Value: uint64(in.Value),
		Written: in.Written, Deadline: in.Deadline, Cause: in.Cause,
	}, err
}

func readID(id *ID, text string) error {
	if n, err := hex.Decode(id[:], []byte(text[:min(len(text), 32)])); err != nil || n != len(id) || len(text) != 32 {
		return fmt.Errorf("episode %q is not 32 hexadecimal digits", text)
	}
	return nil
}

// number is a float64 whose JSON is null when it is not finite.
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	if f := float64(n); !math.IsNaN(f) && !math.IsInf(f, 0) {
		return json.Marshal(f)
	}
	return []byte("null"), nil
}

func (n *number) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*n = number(math.NaN())
		return nil
	}
	return json.Unmarshal(data, (*float64)(n))
}

// size is a number (of bytes, as a rule) whose JSON is "max" at and above
// arc.Unlimited.
type size uint64

func (l size) MarshalJSON() ([]byte, error) {
	if uint64(l) >= arc.Unlimited {
		return []byte(`"max"`), nil
	}
	return json.Marshal(uint64(l))
}

func (l *size) UnmarshalJSON(data []byte) error {
	if string(data) == `"max"` {
		*l = size(arc.Unlimited)
		return nil
	}
	return json.Unmarshal(data, (*uint64)(l))
}

// seconds is a duration whose JSON is a number of seconds.
type seconds time.Duration

func (s seconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(s).Seconds())
}

func (s *seconds) UnmarshalJSON(data []byte) error {
	var f float64
	if err := json.Unmarshal(data, &f); err != nil {
		return err
	}
	*s = seconds(math.Round(f * float64(time.Second)))
	return nil
}
