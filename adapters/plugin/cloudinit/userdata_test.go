package cloudinit

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
)

// parts reads user data as a mail program does: the type, the way to merge, and the text of each part.
func parts(t *testing.T, text string) (all [][3]string) {
	t.Helper()
	is := is.New(t)
	message, err := mail.ReadMessage(strings.NewReader(text))
	is.NoErr(err)
	kind, words, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	is.NoErr(err)
	is.Equal(kind, "multipart/mixed")
	reader := multipart.NewReader(message.Body, words["boundary"])
	for {
		part, err := reader.NextPart()
		if errors.Is(err, io.EOF) {
			return all
		}
		is.NoErr(err)
		body, err := io.ReadAll(part)
		is.NoErr(err)
		if part.Header.Get("Content-Transfer-Encoding") == "base64" {
			body, err = base64.StdEncoding.DecodeString(strings.ReplaceAll(string(body), "\r\n", ""))
			is.NoErr(err)
		}
		all = append(all, [3]string{part.Header.Get("Content-Type"), part.Header.Get("Merge-Type"), string(body)})
	}
}

// TestJoinsBothCloudConfigs sees that a list of the bootstrap data does not take the place of the registration's.
func TestJoinsBothCloudConfigs(t *testing.T) {
	is := is.New(t)
	data := "#cloud-config\nruncmd: [\"" + strings.Repeat("long ", 100) + "\"]\n"
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, err := w.Write([]byte(data))
	is.NoErr(err)
	is.NoErr(w.Close())
	message := "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"inner\"\n\n--inner\nContent-Type: text/cloud-config\n\n#cloud-config\n{}\n--inner--\n"

	for given, want := range map[string]string{
		data: data, "\n" + data: data, zipped.String(): data,
		message: message[strings.Index(message, "--inner"):],
	} {
		s := withCloudInit(t)
		is.NoErr(s.do(core.VerbInstallCloudConfig, ports.Request{CloudConfig: []byte(`{"runcmd":["mine"]}`)}))
		is.NoErr(s.bootstrap("cloud-config", given))
		found := parts(t, s.read("var/lib/cloud/seed/nocloud/user-data"))
		is.Equal(len(found), 2)
		is.Equal(found[0][2], want)
		is.Equal(found[1], [3]string{"text/cloud-config; charset=utf-8", merging, "#cloud-config\n{\"runcmd\":[\"mine\"]}"})
	}

	// Who says how to merge is obeyed.
	s := withCloudInit(t)
	is.NoErr(s.do(core.VerbInstallCloudConfig, ports.Request{CloudConfig: []byte(`{"merge_how":"list(append)"}`)}))
	is.NoErr(s.bootstrap("cloud-config", data))
	is.Equal(parts(t, s.read("var/lib/cloud/seed/nocloud/user-data"))[1][1], "")

	// Without a registration's cloud config the data stay as they are, compressed or not.
	s = withCloudInit(t)
	is.NoErr(s.bootstrap("cloud-config", zipped.String()))
	is.Equal(s.read("var/lib/cloud/seed/nocloud/user-data"), zipped.String())
}
