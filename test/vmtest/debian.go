// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	debianMirror   = "http://deb.debian.org/debian"
	debianSecurity = "http://deb.debian.org/debian-security"
	debianKeyring  = "/usr/share/keyrings/debian-archive-keyring.gpg"

	// aptTimeout bounds one run of apt. A kernel package is about 35 MB.
	aptTimeout = 4 * time.Minute
	// aptAttempts is how often a run of apt is tried in all.
	aptAttempts = 3
)

// suite is a release in Debian's archive, and the one of its security updates, ""
// if it has none.
type suite struct{ name, security string }

// debianSuites maps the names that Fetch takes to the release whose newest cloud
// kernel is meant. Which that is today, the archive's index says.
var debianSuites = map[string]suite{
	"5.10": {"bullseye", "bullseye-security"},
	"6.1":  {"bookworm", "bookworm-security"},
	"6.12": {"trixie", "trixie-security"},
	"7":    {"trixie-backports", ""},
}

// fetchDebian returns the cached cloud kernel of a suite, or downloads it.
func fetchDebian(ctx context.Context, name string, log io.Writer) (Kernel, error) {
	suite, ok := debianSuites[name]
	if !ok {
		return Kernel{}, fmt.Errorf("unknown name (there are %s)", strings.Join(slices.Sorted(maps.Keys(debianSuites)), ", "))
	}
	unlock, err := lock(ctx, "fetch", false, func() { fmt.Fprintln(log, "vmtest: waiting for another download") })
	if err != nil {
		return Kernel{}, err
	}
	defer unlock()
	dir, err := cacheDir(suite.name)
	if err != nil {
		return Kernel{}, err
	}
	// The file "current" holds the package file's name, which is that of its
	// directory: it is written last, so what it names is complete.
	current := filepath.Join(dir, "current")
	if pkg, err := os.ReadFile(current); err == nil {
		if k, err := openPackage(filepath.Join(dir, string(pkg))); err == nil {
			return k, nil
		}
	}
	debs, err := downloadKernel(ctx, dir, suite, log)
	if err != nil {
		return Kernel{}, err
	}
	tree := strings.TrimSuffix(debs[0], ".deb")
	if err := unpack(ctx, debs, tree); err != nil {
		return Kernel{}, err
	}
	k, err := openPackage(tree)
	if err != nil {
		return Kernel{}, err
	}
	if err := os.WriteFile(current, []byte(filepath.Base(tree)), 0o644); err != nil {
		return Kernel{}, fmt.Errorf("record the kernel: %w", err)
	}
	fmt.Fprintf(log, "vmtest: kernel %s is ready\n", k.Release)
	return k, nil
}

// openPackage opens the kernel in an unpacked image package.
func openPackage(tree string) (Kernel, error) {
	var images []string
	// Since 7.0 the image lies beside its modules.
	for _, pattern := range []string{"boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"} {
		found, _ := filepath.Glob(filepath.Join(tree, pattern))
		images = append(images, found...)
	}
	if len(images) != 1 {
		return Kernel{}, fmt.Errorf("%s holds %d kernels, not one", filepath.Base(tree), len(images))
	}
	release, err := readRelease(images[0])
	if err != nil {
		return Kernel{}, err
	}
	// Since trixie /lib is a link and packages ship /usr/lib.
	for _, lib := range []string{"usr/lib", "lib"} {
		modules := filepath.Join(tree, lib, "modules", release)
		if _, err := os.Stat(modules); err == nil {
			return Kernel{Release: release, Image: images[0], Modules: modules}, nil
		}
	}
	return Kernel{}, fmt.Errorf("%s holds no modules for %s", filepath.Base(tree), release)
}

// unpack extracts packages into tree, all or nothing.
func unpack(ctx context.Context, debs []string, tree string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(tree), "unpack-")
	if err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(tree), err)
	}
	defer os.RemoveAll(tmp)
	for _, deb := range debs {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, tmp).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w: %s", filepath.Base(deb), err, bytes.TrimSpace(out))
		}
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(tree); err != nil {
		return err
	}
	if err := publish(tmp, tree); err != nil {
		return err
	}
	for _, deb := range debs {
		err = errors.Join(err, os.Remove(deb))
	}
	return err
}

var (
	imageDependency = regexp.MustCompile(`(?m)^Depends:.*?\b(linux-image-[^ ,]+)`)
	// Since 7.0 the image package is empty and depends on its parts: the image,
	// the modules, and the list of what is built in (base).
	partDependency = regexp.MustCompile(`\b(linux-(?:binary|modules|base)-\d[^ ,]+)`)
)

// downloadKernel has apt fetch the packages of the suite's current cloud kernel
// into dir and returns their paths. apt verifies them against Debian's archive
// keys.
func downloadKernel(ctx context.Context, dir string, suite suite, log io.Writer) ([]string, error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, fmt.Errorf("apt-get not found: set %s to a bzImage instead", KernelEnv)
	}
	if _, err := os.Stat(debianKeyring); err != nil {
		return nil, fmt.Errorf("no keys to verify Debian's archive (apt-get install debian-archive-keyring), or set %s", KernelEnv)
	}
	a, err := newApt(ctx, dir, suite, log)
	if err != nil {
		return nil, err
	}
	if _, err := a.run(ctx, "apt-get", "update"); err != nil {
		return nil, err
	}
	image, err := a.dependencies(ctx, "linux-image-cloud-amd64", imageDependency)
	if err != nil {
		return nil, err
	}
	if len(image) == 0 {
		return nil, fmt.Errorf("the archive's %s has no cloud kernel", suite.name)
	}
	packages, err := a.dependencies(ctx, image[0], partDependency)
	if err != nil {
		return nil, err
	}
	if len(packages) == 0 {
		packages = image
	}
	var debs []string
	for _, pkg := range packages {
		files := filepath.Join(dir, pkg+"_*.deb")
		// What an attempt that was cut short has left may be of an older revision.
		stale, _ := filepath.Glob(files)
		for _, file := range stale {
			_ = os.Remove(file)
		}
		if _, err := a.run(ctx, "apt-get", "download", pkg); err != nil {
			return nil, err
		}
		found, err := filepath.Glob(files)
		if err != nil || len(found) != 1 {
			return nil, fmt.Errorf("%d packages of %s after the download, not one", len(found), pkg)
		}
		debs = append(debs, found[0])
	}
	return debs, nil
}

// apt runs apt's client with a configuration of its own: private lists, cache,
// status and sources, and none of the system's hooks.
type apt struct {
	dir    string
	config string
	log    io.Writer
}

// transport picks the parts of the system's apt configuration that say how to
// reach an archive: proxies, certificates, tolerance for a clock that is off.
var transport = regexp.MustCompile(`^Acquire::(https?|Check-|ForceIPv)`)

func newApt(ctx context.Context, dir string, suite suite, log io.Writer) (*apt, error) {
	root := filepath.Join(dir, "apt")
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return nil, fmt.Errorf("prepare apt's directory: %w", err)
		}
	}
	var conf strings.Builder
	if out, err := exec.CommandContext(ctx, "apt-config", "dump", "Acquire").Output(); err == nil {
		for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
			if transport.MatchString(s.Text()) {
				conf.WriteString(s.Text() + "\n")
			}
		}
	}
	fmt.Fprintf(&conf, `Dir::State %q;
Dir::State::status %q;
Dir::Cache %q;
Dir::Etc::sourcelist %q;
Dir::Etc::sourceparts "-";
Dir::Etc::parts "-";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
`, filepath.Join(root, "state"), filepath.Join(root, "state", "status"), filepath.Join(root, "cache"), filepath.Join(root, "sources.list"))

	mirror := os.Getenv("REFLEX_DEBIAN_MIRROR")
	if mirror == "" {
		mirror = debianMirror
	}
	sources := fmt.Sprintf("deb [signed-by=%s] %s %s main\n", debianKeyring, mirror, suite.name)
	if suite.security != "" {
		sources += fmt.Sprintf("deb [signed-by=%s] %s %s main\n", debianKeyring, debianSecurity, suite.security)
	}
	a := &apt{dir: dir, config: filepath.Join(root, "apt.conf"), log: log}
	for path, text := range map[string]string{
		a.config:                               conf.String(),
		filepath.Join(root, "sources.list"):    sources,
		filepath.Join(root, "state", "status"): "",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("write apt's configuration: %w", err)
		}
	}
	return a, nil
}

// dependencies returns what pattern names in what apt knows of the newest version
// of a package.
func (a *apt) dependencies(ctx context.Context, pkg string, pattern *regexp.Regexp) ([]string, error) {
	meta, err := a.run(ctx, "apt-cache", "show", "--no-all-versions", pkg)
	if err != nil {
		return nil, err
	}
	return named(meta, pattern), nil
}

// named returns what the group of pattern finds, each once.
func named(meta []byte, pattern *regexp.Regexp) []string {
	var names []string
	for _, m := range pattern.FindAllSubmatch(meta, -1) {
		if name := string(m[1]); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// run runs one command of apt in the private directory, again when it fails or
// takes too long, and returns its standard output.
func (a *apt) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	var last error
	for attempt := 1; attempt <= aptAttempts; attempt++ {
		fmt.Fprintf(a.log, "vmtest: %s %s\n", name, strings.Join(args, " "))
		out, err := a.once(ctx, name, args)
		if err == nil {
			return out, nil
		}
		last = fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
		fmt.Fprintf(a.log, "vmtest: attempt %d of %d: %v\n", attempt, aptAttempts, last)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

func (a *apt) once(ctx context.Context, name string, args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, aptTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = a.dir
	cmd.Env = append(os.Environ(), "APT_CONFIG="+a.config, "LC_ALL=C")
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	// A failed index is only a warning to apt-get update; without it the
	// package would silently be an old one or missing.
	if bytes.Contains(stderr.Bytes(), []byte("Failed to fetch")) {
		return nil, errors.New(strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
