// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// named are the missing things of one name.
func named(all []need, name string) (out []need) {
	for _, n := range all {
		if n.Name == name {
			out = append(out, n)
		}
	}
	return out
}

func TestWhatASourceLacksIsShown(t *testing.T) {
	b := newBench(t, nil)
	b.start()
	report := []arc.Requirement{{Name: "iter/cgroup", Cause: "operation not permitted", Remedy: "give it CAP_BPF"}}
	b.r.Missing("ebpf/node", report)
	report[0].Cause = "the sender's slice is its own"
	want := need{"iter/cgroup", "operation not permitted", "give it CAP_BPF"}

	code, body := get(t, b, "/status", "")
	require.Equal(t, http.StatusOK, code)
	var s Status
	require.NoError(t, json.Unmarshal([]byte(body), &s))
	assert.Equal(t, []need{want}, named(s.Missing, "iter/cgroup"))
	_, body = get(t, b, "/", "")
	for _, text := range []string{want.Name, want.Cause, want.Remedy} {
		assert.Contains(t, body, text)
	}

	b.r.Missing("ebpf/second", []arc.Requirement{{Name: "iter/cgroup", Cause: "operation not permitted", Remedy: "give it CAP_BPF"}})
	assert.Len(t, named(b.r.missing(), "iter/cgroup"), 1, "the same thing is shown once")
	b.r.Missing("ebpf/second", nil)
	b.r.Missing("ebpf/node", []arc.Requirement{{Name: "BTF"}})
	assert.Empty(t, named(b.r.missing(), "iter/cgroup"), "a report replaces the one before")
	assert.Len(t, named(b.r.missing(), "BTF"), 1)
}

func TestWhatASourceLacksIsShownWithoutGuard(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Guard = guardNone })
	b.assemble()
	b.r.Missing("ebpf", []arc.Requirement{{Name: "memory controller"}})
	assert.Len(t, named(b.r.missing(), "memory controller"), 1)
}

func TestReportsAreBounded(t *testing.T) {
	var p reports
	many := make([]arc.Requirement, reportedNeeds+3)
	for i := range many {
		many[i].Name = strconv.Itoa(i)
	}
	assert.Equal(t, 3, p.keep("0", many))
	assert.Len(t, p.needs(), reportedNeeds)
	for i := range reportedSources {
		assert.Zero(t, p.keep(strconv.Itoa(i), many[:1]))
	}
	assert.Equal(t, 1, p.keep("one more", many[:1]))
	assert.Zero(t, p.keep("0", nil))
	assert.Zero(t, p.keep("one more", many[:1]), "there is room again")
}

func TestASourceThatNobodyJudgesIsNamed(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	b := newBench(t, nil)
	b.r.logger = zap.New(core)
	b.assemble() // registers mahalanobis for ebpf
	assert.Len(t, named(b.r.missing(), "input"), 1)
	b.sample.Source = "ebpf/node"
	b.tick()
	want := need{"engine", `no processor judges source "ebpf/node"; mahalanobis judges "ebpf"`, "set source: ebpf/node on the mahalanobis processor"}
	assert.Equal(t, []need{want}, named(b.r.missing(), "engine"))
	assert.Empty(t, named(b.r.missing(), "input"), "samples do arrive")

	warned := func() int { return logs.FilterMessageSnippet("not judged").Len() }
	watchdog := &watchdog{r: b.r}
	watchdog.look(context.Background())
	assert.Zero(t, warned(), "its processor may be about to start")
	for range 5 {
		b.tick()
		watchdog.look(context.Background())
	}
	require.Equal(t, 1, warned())
	assert.Equal(t, map[string]any{"source": "ebpf/node", "cause": want.Cause, "remedy": want.Remedy},
		logs.FilterMessageSnippet("not judged").All()[0].ContextMap())

	b.sample.Source = "ebpf"
	b.tick()
	got := named(b.r.missing(), "engine")
	require.Len(t, got, 1)
	assert.Equal(t, "add a mahalanobis processor with source: ebpf/node to the pipeline of receiver ebpf/node", got[0].Remedy,
		"the one there is judges another")

	release, err := b.r.Register("ebpf/node", "mahalanobis/node", &alarm{})
	require.NoError(t, err)
	assert.Empty(t, named(b.r.missing(), "engine"))
	release()
	assert.Empty(t, named(b.r.missing(), "engine"), "a processor that stops is no misconfiguration")
}

func TestEveryUnjudgedSourceHasItsOwnRemedy(t *testing.T) {
	b := newBench(t, nil)
	b.assemble()
	for _, source := range []string{"ebpf/a", "ebpf/b"} {
		b.sample.Source = source
		b.tick()
	}
	got := named(b.r.missing(), "engine")
	require.Len(t, got, 2)
	assert.Equal(t, "set source: ebpf/a on the mahalanobis processor", got[0].Remedy)
	assert.Contains(t, got[1].Remedy, "add a mahalanobis processor with source: ebpf/b")
}

func TestUnjudgedSourcesAreBoundedAndCostNothing(t *testing.T) {
	var u unjudged
	for i := range 3 * unjudgedSources {
		u.note(strconv.Itoa(i))
	}
	assert.Len(t, u.sources(), unjudgedSources)

	b := newBench(t, nil)
	b.assemble()
	s, j := arc.Sample{Source: "ebpf/node"}, arc.Judgement{}
	b.r.Observe(&s, &j)
	assert.Zero(t, testing.AllocsPerRun(100, func() { b.r.Observe(&s, &j) }))
}

func TestASocketThatMayNotBeUsedAsksForItsOwner(t *testing.T) {
	b := newBench(t, enforce)
	b.assemble()
	remedy := func(err error) string {
		b.wire.fail(err)
		b.r.executor.probe(t.Context())
		got := named(b.r.missing(), "reflexguard")
		require.Len(t, got, 1)
		return got[0].Remedy
	}
	denied := &os.SyscallError{Syscall: "connect", Err: syscall.EACCES}
	assert.Equal(t, fmt.Sprintf("start reflexguard with --uid=%d", os.Geteuid()),
		remedy(fmt.Errorf("guard is not reachable at %s: %w", b.r.cfg.Guard, denied)))
	assert.Contains(t, remedy(&os.SyscallError{Syscall: "connect", Err: syscall.ENOENT}), "run reflexguard supervise")
}
