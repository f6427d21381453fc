// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/recorder"
	"github.com/otelcol-reflex/reflex/internal/recording"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/sources"
)

// sensed stands for what ticks are read from.
type sensed struct{ reads int }

func (s *sensed) Read(into *arc.Node) error {
	s.reads++
	into[arc.NodeForks], into[arc.NodeMemoryUsed] = float64(s.reads), math.Pi
	return nil
}

func (s *sensed) Sweep(into *arc.Sweep) error {
	into.Reset()
	into.Set(arc.CgroupMemoryUsage, into.Append(1, 0), 4096)
	into.Set(arc.CgroupCPUTime, into.Append(9, 1), 1_500_000_000)
	return nil
}

func (s *sensed) Path(id uint64) (string, error) { return fmt.Sprintf("/slice/%d", id), nil }

func (s *sensed) Walk(func(id, parent uint64, path string) error) error { return nil }

func (s *sensed) Close() error { return nil }

// opening opens s, which lacks what is missing.
func opening(s *sensed, missing ...arc.Requirement) openSources {
	return func(set sources.Settings, _ sampler.Clock) *sources.Sources {
		src := &sources.Sources{Node: s, Missing: missing}
		if !set.NodeOnly {
			src.Cgroups, src.Names = s, s
		}
		return src
	}
}

func runRecord(ctx context.Context, open openSources, args ...string) (stdout, stderr string, err error) {
	var out, problems bytes.Buffer
	c := recordCommandFrom(open)
	c.SilenceUsage = true
	c.SetOut(&out)
	c.SetErr(&problems)
	c.SetArgs(args)
	err = c.ExecuteContext(ctx)
	return out.String(), problems.String(), err
}

func TestRecordWritesAFileThatReplayReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "host.rfx")
	half := arc.Requirement{Name: "tp_btf/block_rq_complete", Cause: "no such tracepoint"}
	_, text, err := runRecord(t.Context(), opening(&sensed{}, half), "--duration", "200ms", "--interval", "10ms", "-o", path)
	require.NoError(t, err)
	assert.Contains(t, text, "missing: tp_btf/block_rq_complete: no such tracepoint")
	assert.Regexp(t, `(?m)^ticks +\d+ over \d+ms$`, text)
	assert.Regexp(t, `(?m)^size +[\d.]+ (B|KiB), \d+ bytes a tick$`, text)
	assert.Regexp(t, `(?m)^cgroups +2 at most$`, text)

	rows, summary, err := runReplay(t, nil, path)
	require.NoError(t, err)
	assert.Regexp(t, `(?m)^interval +10ms$`, summary)
	assert.Greater(t, strings.Count(rows, "\n"), 1)

	var dumped bytes.Buffer
	c := command()
	c.SetOut(&dumped)
	c.SetArgs([]string{"dump", path, "--cgroups"})
	require.NoError(t, c.ExecuteContext(t.Context()))
	assert.Contains(t, dumped.String(), ",9,1,/slice/9,,,,1.5,,,,,")

	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	r, err := recording.NewReader(file)
	require.NoError(t, err)
	h := r.Header()
	assert.Equal(t, recorder.Source, h.Source)
	assert.EqualValues(t, 10*time.Millisecond, h.Interval)
	assert.NotEmpty(t, h.Kernel)
	assert.Contains(t, h.Recorder, "reflexctl ")
	assert.Equal(t, []recording.Missing{{Name: half.Name, Cause: half.Cause}}, h.Missing)
}

func TestRecordCountsTrafficWhenAsked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "host.rfx")
	lack := arc.Requirement{Name: "CAP_NET_ADMIN", Cause: "not permitted", Remedy: "add it"}
	for _, tc := range []struct {
		args []string
		want bool
		err  string
	}{
		{nil, false, ""},
		{[]string{"--cgroup-network"}, true, "CAP_NET_ADMIN: not permitted"},
		{[]string{"--cgroup-network", "--allow-missing"}, true, ""},
	} {
		var asked bool
		open := func(set sources.Settings, clock sampler.Clock) *sources.Sources {
			asked = set.CgroupNetwork
			return opening(&sensed{}, lack)(set, clock)
		}
		_, _, err := runRecord(t.Context(), open, append(tc.args, "--duration", "20ms", "--interval", "10ms", "-o", path)...)
		if tc.err == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, tc.err)
		}
		assert.Equal(t, tc.want, asked)
	}
}

func TestRecordLeavesCgroupsOut(t *testing.T) {
	out, text, err := runRecord(t.Context(), opening(&sensed{}), "--duration", "50ms", "--interval", "10ms", "-o", "-", "--cgroups=false")
	require.NoError(t, err)
	assert.NotContains(t, text, "cgroups")
	assert.NotContains(t, text, "recording")
	_, _, err = runReplay(t, strings.NewReader(out), "-", "--dimensions", "cgroup")
	assert.ErrorContains(t, err, "holds no cgroup")
}

func TestRecordIsWholeWhenInterrupted(t *testing.T) {
	folder := t.TempDir()
	t.Chdir(folder)
	ctx, cancel := context.WithCancel(t.Context())
	s := &sensed{}
	open := func(set sources.Settings, clock sampler.Clock) *sources.Sources {
		src := opening(s)(set, clock)
		src.Node = reader(func(into *arc.Node) error {
			if s.reads == 5 {
				cancel()
			}
			return s.Read(into)
		})
		return src
	}
	_, text, err := runRecord(ctx, open, "--interval", "10ms")
	require.NoError(t, err)
	assert.Regexp(t, `(?m)^recording +reflex-.*-\d{8}T\d{6}Z\.rfx$`, text)
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	hidden, err := filepath.Glob(filepath.Join(folder, ".*"))
	require.NoError(t, err)
	assert.Empty(t, hidden, "no temporary file stays")
	_, summary, err := runReplay(t, nil, files[0])
	require.NoError(t, err)
	assert.NotContains(t, summary, "ends early")
}

// reader is a source of the node made of a function.
type reader func(*arc.Node) error

func (r reader) Read(into *arc.Node) error { return r(into) }

func TestRecordSaysWhatIsMissing(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "host.rfx")
	open := opening(&sensed{},
		arc.Requirement{Name: "eBPF", Cause: "operation not permitted", Remedy: "run it with CAP_BPF and CAP_PERFMON"},
		arc.Requirement{Name: "CAP_BPF", Cause: "not in the effective set"})
	_, _, err := runRecord(t.Context(), open, "-o", path, "--duration", "50ms", "--interval", "10ms")
	require.ErrorContains(t, err, "eBPF: operation not permitted\n    → run it with CAP_BPF and CAP_PERFMON\n  CAP_BPF: not in the effective set")
	require.ErrorContains(t, err, "--allow-missing")
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	assert.Empty(t, left)

	_, _, err = runRecord(t.Context(), open, "-o", path, "--duration", "50ms", "--interval", "10ms", "--allow-missing")
	require.NoError(t, err)
	assert.FileExists(t, path)

	none := func(sources.Settings, sampler.Clock) *sources.Sources {
		return &sources.Sources{Node: &sensed{}, Missing: []arc.Requirement{{Name: "cgroup v2", Cause: "not mounted"}}}
	}
	_, _, err = runRecord(t.Context(), none, "-o", path)
	require.ErrorContains(t, err, "cgroup v2: not mounted")
	require.ErrorContains(t, err, "--cgroups=false does without cgroups")
}

func TestRecordRefusesWhatCannotBeMeant(t *testing.T) {
	folder := t.TempDir()
	small := filepath.Join(folder, "small.rfx")
	for want, args := range map[string][]string{
		"interval: 1ms is not between 10ms and 10s":           {"--interval", "1ms"},
		"duration: -1s is negative":                           {"--duration", "-1s"},
		"duration: 50ms is shorter than one interval (100ms)": {"--duration", "50ms"},
		"cgroup-network: nothing to count without cgroups":    {"--cgroup-network", "--cgroups=false"},
		"closer-look: nothing to read without cgroups":        {"--closer-look", "--cgroups=false"},
		"max-cgroups: 0 is not between":                       {"--max-cgroups", "0"},
		`cgroup-root: "sys" is not an absolute path`:          {"--cgroup-root", "sys"},
		`"plenty" is no size`:                                 {"--max-size", "plenty"},
		"max-size: 100B leaves no room for a tick":            {"--max-size", "100", "--duration", "100ms", "-o", small},
		"write /nowhere/at/all":                               {"-o", "/nowhere/at/all"},
		"unknown command \"host.rfx\" for \"record\"":         {"host.rfx"},
	} {
		_, _, err := runRecord(t.Context(), opening(&sensed{}), args...)
		assert.ErrorContains(t, err, want)
	}
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	assert.Empty(t, left, "nothing stays of a recording that failed")
}

func TestASizeIsReadAndWritten(t *testing.T) {
	for text, want := range map[string]byteSize{
		"0": 0, "4096": 4096, "64MiB": 64 << 20, "1.5 GiB": 3 << 29, "10MB": 10_000_000, "7B": 7, "2kB": 2000,
	} {
		var b byteSize
		require.NoError(t, b.Set(text), text)
		assert.Equal(t, want, b, text)
	}
	for _, text := range []string{"", "-1", "MiB", "1e30", "NaN", "64 apples"} {
		var b byteSize
		assert.Error(t, b.Set(text), text)
	}
	b := byteSize(64 << 20)
	assert.Equal(t, "64MiB", b.String())
}

func TestTheProgressOfARecordingFitsItsTerminal(t *testing.T) {
	s := &recorder.Summary{Ticks: 1500, Cgroups: 214, Size: 340 << 10, Span: 150 * time.Second}
	p := &recordProgress{width: 100, duration: 5 * time.Minute}
	text := p.text(s)
	assert.Contains(t, text, " 50 %  1500 ticks, 214 cgroups, 340 KiB, 2m30s left")
	assert.LessOrEqual(t, len([]rune(text)), 100)
	p.duration = 0
	assert.Equal(t, "1500 ticks, 214 cgroups, 340 KiB", p.text(s))

	var drawn bytes.Buffer
	p = &recordProgress{to: &drawn, width: 80}
	p.draw(s)
	first := drawn.Len()
	assert.Positive(t, first)
	p.draw(s)
	assert.Equal(t, first, drawn.Len(), "not too often")
}

// OpenPath implements [sources.Names]; a recording looks at no files.
func (s *sensed) OpenPath(string) (*cgroupfs.Dir, error) { return nil, cgroupfs.ErrGone }
