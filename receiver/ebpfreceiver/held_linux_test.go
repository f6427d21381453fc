// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
)

// held is what this process holds of the kernel.
type held struct {
	// descriptors counts open files by what they are.
	descriptors map[string]int
	goroutines  int
	// objects are BPF objects by the kernel's ids, "prog 7", whether held by a
	// descriptor or by a program that is.
	objects map[string]bool
	// locked is the memory of the BPF maps and programs held by descriptors.
	locked uint64
}

var digits = regexp.MustCompile(`\[\d+\]|\d+`)

// holding looks at this process.
func holding(t *testing.T) held {
	t.Helper()
	h := held{descriptors: map[string]int{}, objects: map[string]bool{}, goroutines: runtime.NumGoroutine()}
	open, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, fd := range open {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name()))
		if err != nil {
			continue // the directory itself
		}
		h.descriptors[digits.ReplaceAllString(target, "")]++
		text, err := os.ReadFile(filepath.Join("/proc/self/fdinfo", fd.Name()))
		if err == nil {
			h.note(string(text))
		}
	}
	for object := range maps.Clone(h.objects) {
		h.noteMapsOf(object)
	}
	return h
}

// note remembers the BPF objects that a file in fdinfo names.
func (h *held) note(fdinfo string) {
	for line := range strings.Lines(fdinfo) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "prog_id", "map_id", "link_id":
			h.objects[strings.TrimSuffix(key, "_id")+" "+value] = true
		case "memlock":
			bytes, _ := strconv.ParseUint(value, 10, 64)
			h.locked += bytes
		}
	}
}

// noteMapsOf adds the maps of a program, for which nobody need hold a descriptor.
func (h *held) noteMapsOf(object string) {
	id, is := strings.CutPrefix(object, "prog ")
	if !is {
		return
	}
	program, err := ebpf.NewProgramFromID(ebpf.ProgramID(parseID(id)))
	if err != nil {
		return
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return
	}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		h.objects["map "+strconv.FormatUint(uint64(id), 10)] = true
	}
}

func parseID(text string) uint32 {
	id, _ := strconv.ParseUint(text, 10, 32)
	return uint32(id)
}

// alive says whether the kernel still has a BPF object.
func alive(object string) bool {
	kind, id, _ := strings.Cut(object, " ")
	var err error
	var opened interface{ Close() error }
	switch kind {
	case "prog":
		opened, err = ebpf.NewProgramFromID(ebpf.ProgramID(parseID(id)))
	case "map":
		opened, err = ebpf.NewMapFromID(ebpf.MapID(parseID(id)))
	case "link":
		opened, err = link.NewFromID(link.ID(parseID(id)))
	}
	if err == nil {
		_ = opened.Close()
	}
	return !errors.Is(err, os.ErrNotExist)
}

// requireGone waits for the kernel to have put every object away, which it does
// a moment after the last descriptor is closed. The read-only variables of a
// program stay mapped, by the library, until the garbage collector comes by.
func requireGone(t *testing.T, objects map[string]bool) {
	t.Helper()
	left := maps.Clone(objects)
	require.True(t, poll(func() bool {
		runtime.GC()
		maps.DeleteFunc(left, func(object string, _ bool) bool { return !alive(object) })
		return len(left) == 0
	}), "the kernel still has %v", left)
}

// requireAsBefore waits until this process holds what it held before: goroutines
// may end a moment after they have said so.
func requireAsBefore(t *testing.T, before held) {
	t.Helper()
	var now held
	same := func() bool {
		now = holding(t)
		return maps.Equal(before.descriptors, now.descriptors) && now.goroutines <= before.goroutines
	}
	if !poll(same) {
		require.Equal(t, before.descriptors, now.descriptors, "open files")
		require.LessOrEqual(t, now.goroutines, before.goroutines, "goroutines")
	}
}

// poll asks until the answer is yes or the deadline has come. Unlike
// require.Eventually it starts no goroutine, which would be counted.
func poll(condition func() bool) bool {
	for end := time.Now().Add(deadline); ; time.Sleep(20 * time.Millisecond) {
		if condition() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}
