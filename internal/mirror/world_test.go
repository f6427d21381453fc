// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	godbus "github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

const mib = 1 << 20

// world is a machine with systemd and a guard, both simulated, over real files.
type world struct {
	tb    testing.TB
	dir   string
	units map[string]map[string]any // properties
	calls []map[string]uint64       // what systemd was told
	fails error                     // of the next calls to systemd
	// failing is how many calls fail, 0 for all.
	failing  int
	refused  map[string]bool // properties that systemd does not take
	refusals int
	mute     bool                       // it does what it is told and does not say so
	asks     int                        // about properties
	legal    map[string]map[uint64]bool // what it may be told
	held     []guard.Lease
	asked    func() // before the guard answers
	silent   bool
	mirror   *Mirror
}

func newWorld(tb testing.TB, dir string) *world {
	tb.Helper()
	w := &world{tb: tb, dir: dir, units: map[string]map[string]any{}, legal: map[string]map[uint64]bool{}}
	w.unit("/system.slice/a.service", map[string]uint64{"MemoryMax": 1024 * mib})
	w.start()
	return w
}

// unit makes one, with its cgroup, at systemd's defaults but for set.
func (w *world) unit(cgroup string, set map[string]uint64) {
	w.tb.Helper()
	properties := map[string]any{"ControlGroup": cgroup, "Description": "a unit", "LoadState": loaded}
	for _, s := range settings {
		properties[s.property] = uint64(unlimited)
		if s.unset == 0 {
			properties[s.property] = uint64(0)
		}
		if v, is := set[s.property]; is {
			properties[s.property] = v
		}
		w.allow(s.property, properties[s.property].(uint64))
	}
	w.units[path.Base(cgroup)] = properties
	require.NoError(w.tb, os.MkdirAll(w.path(cgroup), 0o755))
	w.reload(path.Base(cgroup))
}

func (w *world) path(cgroup string) string { return filepath.Join(w.dir, "cgroup", cgroup) }

// reload is systemd writing all settings.
func (w *world) reload(unit string) {
	w.tb.Helper()
	properties := w.units[unit]
	cgroup := properties["ControlGroup"].(string)
	for i := range settings {
		s := &settings[i]
		w.write(cgroup, s.file, s.shown(properties[s.property].(uint64)))
	}
}

// write writes a file as the kernel would show it.
func (w *world) write(cgroup, file string, v uint64) {
	w.tb.Helper()
	if v == unlimited {
		v = arc.Unlimited
	}
	text := string(cgroupfs.AppendUint(nil, v))
	switch file {
	case "cpu.max":
		if v < arc.Unlimited {
			text = strconv.FormatUint(v/10, 10)
		}
		text += " 100000"
	case "io.weight":
		text = "default " + text + "\n8:0 500"
	}
	require.NoError(w.tb, os.WriteFile(filepath.Join(w.path(cgroup), file), []byte(text+"\n"), 0o600))
}

// allow has systemd take a value.
func (w *world) allow(property string, v uint64) {
	if w.legal[property] == nil {
		w.legal[property] = map[uint64]bool{}
	}
	w.legal[property][v] = true
}

// Properties implements Manager.
func (w *world) Properties(_ context.Context, unit string) (map[string]any, error) {
	w.asks++
	if err := w.fails; err != nil {
		if w.failing--; w.failing == 0 {
			w.fails = nil
		}
		return nil, err
	}
	if p := w.units[unit]; p != nil {
		return maps.Clone(p), nil
	}
	return map[string]any{"ControlGroup": "", "LoadState": "not-found"}, nil
}

// Set implements Manager.
func (w *world) Set(_ context.Context, unit string, values map[string]uint64) error {
	if w.fails != nil {
		return w.fails
	}
	for name := range values {
		if w.refused[name] {
			w.refusals++
			return godbus.Error{Name: "org.freedesktop.systemd1.BadUnitSetting"}
		}
	}
	w.calls = append(w.calls, maps.Clone(values))
	properties := w.units[unit]
	if properties == nil {
		return errors.New("no such unit")
	}
	for name, v := range values {
		require.True(w.tb, w.legal[name][v], "%s=%d was never so, nor declared", name, v)
		properties[name] = v
		s := settingOf(name)
		file := dropIns(filepath.Join(w.dir, "run"), unit, &s)[0]
		require.NoError(w.tb, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(w.tb, os.WriteFile(file, []byte("# made by systemd\n[Service]\n"+s.name+"="+strconv.FormatUint(v, 10)+"\n"), 0o600))
	}
	w.reload(unit)
	if w.mute {
		return errors.New("no answer")
	}
	return nil
}

// start starts a mirror, as after it was killed.
func (w *world) start() {
	w.tb.Helper()
	m, err := New(Config{
		Leases: func(context.Context) ([]guard.Lease, error) {
			if w.asked != nil {
				w.asked()
			}
			if w.silent {
				return nil, errors.New("the guard is not reachable")
			}
			return slices.Clone(w.held), nil
		},
		Manager: w, Root: filepath.Join(w.dir, "cgroup"), Notes: filepath.Join(w.dir, "mirror.json"),
		Run: filepath.Join(w.dir, "run"), Etc: filepath.Join(w.dir, "etc"), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	require.NoError(w.tb, err)
	w.mirror = m
}

func (w *world) round() {
	w.tb.Helper()
	require.NoError(w.tb, w.mirror.Round(w.tb.Context()))
}

// hold is the guard granting a lease on a.service, or moving it.
func (w *world) hold(knob string, original, declared uint64) *guard.Lease {
	w.tb.Helper()
	return w.holdOn("/system.slice/a.service", 10, knob, original, declared)
}

func (w *world) holdOn(cgroup string, id uint64, knob string, original, declared uint64) *guard.Lease {
	w.tb.Helper()
	l := guard.Lease{Cgroup: id, Path: cgroup, Knob: knob, Original: original, Value: declared, Declared: declared, Generation: 1}
	w.drop(knob)
	w.allow(mirrored[knob], valueOf(&l))
	w.held = append(w.held, l)
	if w.mirror.seen == nil {
		w.mirror.seen = map[lease]bool{}
	}
	w.mirror.seen[leaseOf(&l)] = true // for a while already
	return &w.held[len(w.held)-1]
}

// busy is what a guard says of a lease that is being written.
func busy(knob string) guard.Lease { return guard.Lease{Cgroup: 10, Knob: knob, Busy: true} }

// drop is the guard having ended a lease, without its write.
func (w *world) drop(knob string) {
	w.held = slices.DeleteFunc(w.held, func(l guard.Lease) bool { return l.Knob == knob })
}

func (w *world) get(property string) any { return w.units["a.service"][property] }

// left lists what a mirror has left: files of settings, and notes.
func (w *world) left() []string {
	w.tb.Helper()
	var files []string
	for _, pattern := range []string{"run/*/*/*", "run/*/*", "mirror.json*"} {
		found, err := filepath.Glob(filepath.Join(w.dir, pattern))
		require.NoError(w.tb, err)
		files = append(files, found...)
	}
	return files
}
