// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// tree makes a plain directory tree and returns it as a root.
func tree(t *testing.T, dirs ...string) (*Root, string) {
	t.Helper()
	top := t.TempDir()
	for _, d := range dirs {
		require.NoError(t, os.MkdirAll(filepath.Join(top, d), 0o755))
	}
	r, err := OpenRoot(top, WithAttributes(&Memory{}))
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	return r, top
}

func idOf(t *testing.T, r *Root, path string) uint64 {
	t.Helper()
	d, err := r.OpenPath(path)
	require.NoError(t, err)
	defer d.Close()
	return d.ID()
}

func TestOpenFindsACgroupByIDWhereverItIs(t *testing.T) {
	r, top := tree(t, "a/b", "c")
	b := idOf(t, r, "/a/b")
	p, err := r.Path(b)
	require.NoError(t, err)
	assert.Equal(t, "/a/b", p)

	require.NoError(t, os.Rename(filepath.Join(top, "a/b"), filepath.Join(top, "c/moved")))
	require.NoError(t, os.Mkdir(filepath.Join(top, "a/b"), 0o755))
	p, err = r.Path(b)
	require.NoError(t, err)
	assert.Equal(t, "/c/moved", p, "where it was seen last is verified")

	root, err := r.Open(r.ID())
	require.NoError(t, err)
	defer root.Close()
	p, err = root.Path()
	require.NoError(t, err)
	assert.Equal(t, "/", p)
}

func TestARecreatedCgroupIsAnotherCgroup(t *testing.T) {
	r, top := tree(t, "a", "keep")
	d, err := r.OpenPath("/a")
	require.NoError(t, err)
	defer d.Close()
	require.NoError(t, os.WriteFile(filepath.Join(top, "a/memory.high"), []byte("max\n"), 0o600))
	require.NoError(t, os.RemoveAll(filepath.Join(top, "a")))
	// The held descriptor keeps the inode busy, so that it is not used again.
	require.NoError(t, os.Mkdir(filepath.Join(top, "a"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(top, "a/memory.high"), []byte("max\n"), 0o600))

	require.ErrorIs(t, d.WriteUint("memory.high", 4096), ErrGone)
	_, err = d.ReadUint("memory.high")
	require.ErrorIs(t, err, ErrGone)
	_, err = d.Path()
	require.ErrorIs(t, err, ErrGone)
	_, err = r.Open(d.ID())
	require.ErrorIs(t, err, ErrGone)
	_, err = r.Open(0)
	require.ErrorIs(t, err, ErrGone, "an empty target is an error")
	text, err := os.ReadFile(filepath.Join(top, "a/memory.high"))
	require.NoError(t, err)
	assert.Equal(t, "max\n", string(text), "the new cgroup is untouched")
}

func TestAMissingFileIsNotAMissingCgroup(t *testing.T) {
	r, _ := tree(t, "a")
	d, err := r.OpenPath("/a")
	require.NoError(t, err)
	defer d.Close()
	_, err = d.ReadUint("memory.high")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NotErrorIs(t, err, ErrGone)
}

func TestWalkVisitsParentsFirstAndFollowsNoLink(t *testing.T) {
	r, top := tree(t, "a/b", "c")
	outside := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(outside, "secret"), 0o755))
	require.NoError(t, os.Symlink(outside, filepath.Join(top, "link")))
	require.NoError(t, os.WriteFile(filepath.Join(top, "cgroup.procs"), nil, 0o600))

	parents, paths := map[string]uint64{}, map[string]uint64{}
	require.NoError(t, r.Walk(func(id, parent uint64, path string) error {
		if path != "/" {
			_, known := paths[filepath.Dir(path)]
			assert.True(t, known, "%s came before its parent", path)
		}
		paths[path], parents[path] = id, parent
		return nil
	}))
	assert.Len(t, paths, 4)
	assert.Equal(t, paths["/a"], parents["/a/b"])
	assert.Zero(t, parents["/"])

	_, err := r.OpenPath("/link/secret")
	require.Error(t, err)
	_, err = r.OpenPath("/../../etc")
	require.ErrorIs(t, err, ErrGone, "a path cannot climb out of the root")
}

func TestNumbersAndTheWordMax(t *testing.T) {
	r, _ := tree(t, "a")
	d, err := r.OpenPath("/a")
	require.NoError(t, err)
	defer d.Close()
	path := filepath.Join(r.Name(), "a/memory.high")
	require.NoError(t, os.WriteFile(path, []byte("123456789012\n"), 0o600))
	for _, v := range []uint64{0, 4096, arc.Unlimited - 1, arc.Unlimited, math.MaxUint64} {
		require.NoError(t, d.WriteUint("memory.high", v))
		got, err := d.ReadUint("memory.high")
		require.NoError(t, err)
		assert.Equal(t, min(v, arc.Unlimited), got)
	}
	require.NoError(t, d.WriteUint("memory.high", arc.Unlimited))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "max\n", string(text), "a shorter value leaves nothing of a longer one")

	for _, bad := range []string{"", "x", "-1", "1x", "99999999999999999999", "184467440737095516150"} {
		_, ok := ParseUint([]byte(bad))
		assert.False(t, ok, "%q", bad)
	}
}

func TestKeyedReadsWholeKeys(t *testing.T) {
	stat := []byte("anon 10\nfile 20\nanon_thp 30\nkernel 40")
	for key, want := range map[string]uint64{"anon": 10, "anon_thp": 30, "kernel": 40} {
		got, ok := Keyed(stat, key)
		assert.True(t, ok)
		assert.Equal(t, want, got, key)
	}
	_, ok := Keyed(stat, "ano")
	assert.False(t, ok)
}

func TestPageRounding(t *testing.T) {
	p := uint64(os.Getpagesize())
	assert.Equal(t, p, PageDown(2*p-1))
	assert.Equal(t, 2*p, PageUp(p+1))
	assert.Equal(t, p, PageUp(p))
	assert.Equal(t, arc.Unlimited, PageDown(math.MaxUint64))
	assert.Equal(t, arc.Unlimited, PageUp(arc.Unlimited-1))
}

func TestAttributesOnDirectoriesAndInMemory(t *testing.T) {
	for name, attrs := range map[string]Attributes{"memory": &Memory{}, "kernel": Kernel{Substitute: "user"}} {
		t.Run(name, func(t *testing.T) {
			r, err := OpenRoot(t.TempDir(), WithAttributes(attrs))
			require.NoError(t, err)
			defer r.Close()
			d := r.Dir()
			if err := d.Setxattr("trusted.reflex.test", []byte("v")); err != nil {
				t.Skipf("the temporary directory carries no user attributes: %v", err)
			}
			got, err := d.Getxattr("trusted.reflex.test")
			require.NoError(t, err)
			assert.Equal(t, "v", string(got))
			big := []byte(strings.Repeat("x", 3000))
			require.NoError(t, d.Setxattr("trusted.reflex.test", big))
			got, err = d.Getxattr("trusted.reflex.test")
			require.NoError(t, err)
			assert.Equal(t, big, got)
			require.NoError(t, d.Removexattr("trusted.reflex.test"))
			require.NoError(t, d.Removexattr("trusted.reflex.test"), "removing what is not there is done already")
			_, err = d.Getxattr("trusted.reflex.test")
			require.ErrorIs(t, err, ErrNoAttribute)
		})
	}
}

func TestFindRootPrefersTheMountWithTheMemoryController(t *testing.T) {
	const hybrid = `25 1 0:22 / /proc rw - proc proc rw
30 25 0:26 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw
31 25 0:26 /part /mnt/part rw,nosuid shared:7 - cgroup2 cgroup2 rw
32 25 0:27 / /mnt/with\040space rw,nosuid shared:7 master:2 - cgroup2 cgroup2 rw
`
	got, err := findRoot(strings.NewReader(hybrid), func(string, string) bool { return false })
	require.NoError(t, err)
	assert.Equal(t, "/sys/fs/cgroup/unified", got)
	got, err = findRoot(strings.NewReader(hybrid), func(p, _ string) bool { return p == "/mnt/with space" })
	require.NoError(t, err)
	assert.Equal(t, "/mnt/with space", got)
	_, err = findRoot(strings.NewReader("25 1 0:22 / /proc rw - proc proc rw\n"), HasController)
	require.ErrorIs(t, err, ErrNoCgroup2)

	only := "30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	_, err = findRoot(strings.NewReader(only), HasController)
	require.ErrorIs(t, err, ErrNoCgroup2)
	assert.ErrorContains(t, err, "only cgroup v1")
}

// TestOnTheKernel runs on a cgroup of its own in the machine's cgroup v2.
func TestOnTheKernel(t *testing.T) {
	mount, err := FindRoot()
	if err != nil {
		t.Skip(err)
	}
	top := filepath.Join(mount, "reflex-test-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(top, 0o755); err != nil {
		t.Skipf("cannot create a cgroup here: %v", err)
	}
	child, other := filepath.Join(top, "child"), filepath.Join(top, "other")
	t.Cleanup(func() { os.Remove(child); os.Remove(other); os.Remove(top) })
	require.NoError(t, os.Mkdir(child, 0o755))
	require.NoError(t, os.Mkdir(other, 0o755))

	r, err := OpenRoot(mount)
	require.NoError(t, err)
	defer r.Close()
	require.True(t, r.Kernel())
	id := idOf(t, r, strings.TrimPrefix(child, mount))
	for _, way := range []string{"by handle", "by search"} {
		r.noHnd = way == "by search"
		d, err := r.Open(id)
		require.NoError(t, err, way)
		assert.Equal(t, id, d.ID(), way)
		p, err := d.Path()
		require.NoError(t, err, way)
		assert.Equal(t, strings.TrimPrefix(child, mount), p, way)
		require.NoError(t, d.Close())
	}
	r.noHnd = false

	part, err := OpenRoot(other)
	require.NoError(t, err)
	defer part.Close()
	_, err = part.Open(id)
	require.ErrorIs(t, err, ErrGone, "a cgroup outside of the root is not found by its handle")

	d, err := r.Open(id)
	require.NoError(t, err)
	defer d.Close()
	pids, err := d.Processes(nil)
	require.NoError(t, err)
	assert.Empty(t, pids)
	if err := d.Setxattr("trusted.reflex.test", []byte("x")); err == nil {
		v, err := d.Getxattr("trusted.reflex.test")
		require.NoError(t, err)
		assert.Equal(t, "x", string(v))
	}
	require.NoError(t, os.Remove(child))
	require.NoError(t, os.Mkdir(child, 0o755))
	_, err = d.ReadFile("cgroup.procs", nil)
	require.ErrorIs(t, err, ErrGone)
	_, err = d.ReadFile("no.such.file", nil)
	require.ErrorIs(t, err, ErrGone)
	_, err = r.Open(id)
	require.ErrorIs(t, err, ErrGone)
	again, err := r.OpenPath(strings.TrimPrefix(child, mount))
	require.NoError(t, err)
	defer again.Close()
	_, err = again.Getxattr("trusted.reflex.test")
	require.Error(t, err, "a recreated cgroup inherits no attribute")
}

func BenchmarkOpenByID(b *testing.B) {
	mount, err := FindRoot()
	if err != nil {
		b.Skip(err)
	}
	r, err := OpenRoot(mount)
	require.NoError(b, err)
	defer r.Close()
	var last uint64
	require.NoError(b, r.Walk(func(id, _ uint64, _ string) error { last = id; return nil }))
	b.ReportAllocs()
	for b.Loop() {
		d, err := r.Open(last)
		if err != nil {
			b.Fatal(err)
		}
		d.Close()
	}
}

// TestWhatIsNotUnifiedIsRefused needs a machine with cgroup v1, as the virtual
// machine of the end-to-end tests is in the end.
func TestWhatIsNotUnifiedIsRefused(t *testing.T) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	v1 := ""
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		if mount := strings.Fields(before)[4]; strings.HasPrefix(after, "cgroup ") && strings.HasPrefix(mount, "/sys/fs/cgroup/") {
			v1 = mount
		}
	}
	if v1 == "" {
		t.Skip("no cgroup v1 hierarchy is mounted here")
	}
	_, err = OpenRoot(v1)
	require.ErrorContains(t, err, "cgroup v1")
	_, err = OpenRoot(filepath.Dir(v1))
	require.ErrorContains(t, err, "mounted below it")
	if root, err := FindRoot(); err == nil && filepath.Dir(root) == filepath.Dir(v1) {
		_, err = OpenRoot(filepath.Dir(v1))
		require.ErrorContains(t, err, root)
	}
}
