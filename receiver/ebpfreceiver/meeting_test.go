// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

type host map[component.ID]component.Component

func (h host) GetExtensions() map[component.ID]component.Component { return h }

// extension is an extension that has nothing to do with the arc.
type extension struct {
	_ byte // so that two of them have two addresses
}

func (*extension) Start(context.Context, component.Host) error { return nil }
func (*extension) Shutdown(context.Context) error              { return nil }

// meeting is one that is the arc's meeting point.
type meeting struct {
	extension
	observed atomic.Uint64 // sequence of the latest sample
	source   atomic.Pointer[string]
	control  arc.ControlWord
	missing  atomic.Pointer[[]arc.Requirement] // of the latest report
}

func (*meeting) Register(string, string, arc.Engine) (func(), error) { return func() {}, nil }

func (m *meeting) Observe(s *arc.Sample, j *arc.Judgement) {
	if m.source.Load() == nil {
		source := s.Source
		m.source.Store(&source)
	}
	m.observed.Store(s.Sequence)
	j.Sequence = s.Sequence
}

func (m *meeting) Missing(source string, missing []arc.Requirement) {
	m.source.Store(&source)
	m.missing.Store(&missing)
}

func (m *meeting) Control() arc.Control { return m.control.Load() }

func TestFindMeeting(t *testing.T) {
	reflex := component.MustNewID("reflex")
	second := component.MustNewIDWithName("reflex", "second")
	health := component.MustNewID("health_check")
	one, two, other := &meeting{}, &meeting{}, &extension{}

	for _, tt := range []struct {
		name  string
		host  host
		named *component.ID
		want  arc.Meeting
		err   string
	}{
		{name: "unset and none there is", host: host{health: other}},
		{name: "unset and no extensions at all"},
		{name: "unset and one there is", host: host{health: other, reflex: one}, want: one},
		{name: "unset and several there are", host: host{reflex: one, second: two}, err: "reflex: there are several reflex extensions (reflex, reflex/second); name one"},
		{name: "named among several", host: host{reflex: one, second: two}, named: &second, want: two},
		{name: "named and absent", host: host{reflex: one}, named: &second, err: `reflex: there is no extension "reflex/second"`},
		{name: "named and of another type", host: host{health: other, reflex: one}, named: &health, err: `reflex: extension "health_check" is no reflex extension`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := findMeeting(tt.host, tt.named)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			if tt.want == nil {
				assert.Nil(t, got)
				return
			}
			assert.Same(t, tt.want, got)
		})
	}
}

func TestWhatIsMissingIsReportedToTheMeeting(t *testing.T) {
	m := &meeting{}
	id := component.MustNewIDWithName("ebpf", "node")
	r := newFake(t, &fakeKernel{}, consumertest.NewNop(), func(_ *Config, set *receiver.Settings) { set.ID = id })
	r.open = (&fakeKernel{}).open(arc.Requirement{Name: "BTF", Cause: "no vmlinux", Remedy: "use another kernel"}, arc.Requirement{Name: "CAP_BPF", Cause: "dropped", Remedy: "give it"})
	require.NoError(t, r.Start(t.Context(), host{component.MustNewID("reflex"): m}))
	defer func() { require.NoError(t, r.Shutdown(context.Background())) }()
	require.NotNil(t, m.missing.Load())
	assert.Equal(t, "ebpf/node", *m.source.Load())
	assert.Equal(t, []arc.Requirement{{Name: "BTF", Cause: "no vmlinux", Remedy: "use another kernel"}, {Name: "CAP_BPF", Cause: "dropped", Remedy: "give it"}},
		*m.missing.Load())
}

// deaf is a meeting that takes no reports.
type deaf struct{ arc.Meeting }

func TestAMeetingNeedNotTakeReports(t *testing.T) {
	missing := []arc.Requirement{{Name: "BTF"}}
	assert.NotPanics(t, func() { report(deaf{&meeting{}}, "ebpf", missing) })
	assert.NotPanics(t, func() { report(nil, "ebpf", missing) })
}
