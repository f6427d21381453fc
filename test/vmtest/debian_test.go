// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lay writes a package tree: files by name, a kernel image where the content is
// a release.
func lay(t *testing.T, files map[string]string) string {
	t.Helper()
	tree := t.TempDir()
	for name, release := range files {
		path := filepath.Join(tree, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		image := make([]byte, 0x400)
		copy(image[0x202:], "HdrS")
		binary.LittleEndian.PutUint16(image[0x20e:], 0x100)
		copy(image[0x300:], release+" (builder)\x00")
		require.NoError(t, os.WriteFile(path, image, 0o600))
	}
	return tree
}

func TestPackagesAreOpenedHoweverTheyAreLaidOut(t *testing.T) {
	for name, files := range map[string][2]string{
		"image in /boot, modules in /lib":     {"boot/vmlinuz-5.10.0-46-cloud-amd64", "lib/modules/5.10.0-46-cloud-amd64/modules.builtin"},
		"image in /boot, modules in /usr/lib": {"boot/vmlinuz-5.10.0-46-cloud-amd64", "usr/lib/modules/5.10.0-46-cloud-amd64/modules.builtin"},
		"image beside its modules":            {"usr/lib/modules/5.10.0-46-cloud-amd64/vmlinuz", "usr/lib/modules/5.10.0-46-cloud-amd64/modules.builtin"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := lay(t, map[string]string{files[0]: "5.10.0-46-cloud-amd64", files[1]: ""})
			k, err := openPackage(tree)
			require.NoError(t, err)
			assert.Equal(t, Kernel{
				Release: "5.10.0-46-cloud-amd64", Image: filepath.Join(tree, files[0]), Modules: filepath.Dir(filepath.Join(tree, files[1])),
			}, k)
		})
	}
	_, err := openPackage(lay(t, map[string]string{"boot/vmlinuz-1": "1", "usr/lib/modules/2/vmlinuz": "2"}))
	assert.ErrorContains(t, err, "holds 2 kernels, not one")
	_, err = openPackage(lay(t, map[string]string{"boot/vmlinuz-1": "1"}))
	assert.ErrorContains(t, err, "no modules for 1")
}

func TestTheNamesOfPackagesComeFromTheIndex(t *testing.T) {
	meta := []byte("Package: linux-image-cloud-amd64\nVersion: 7.3.4-1~bpo13+1\n" +
		"Depends: linux-image-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1)\nRecommends: linux-image-other\n")
	assert.Equal(t, []string{"linux-image-7.3.4+deb13-cloud-amd64"}, named(meta, imageDependency))

	parts := []byte("Package: linux-image-7.3.4+deb13-cloud-amd64\n" +
		"Depends: dracut | linux-initramfs-tool, linux-base-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), " +
		"linux-binary-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), linux-modules-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1)\n")
	assert.Equal(t, []string{
		"linux-base-7.3.4+deb13-cloud-amd64", "linux-binary-7.3.4+deb13-cloud-amd64", "linux-modules-7.3.4+deb13-cloud-amd64",
	}, named(parts, partDependency))

	whole := []byte("Package: linux-image-6.1.0-56-cloud-amd64\nDepends: kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120+deb8u2)\n")
	assert.Empty(t, named(whole, partDependency), "an image that is no shell of others is the package itself")
}
