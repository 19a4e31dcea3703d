package config

import (
	"genkan/proxy"
	"genkan/proxy/ftp"
)

// passive reads the ports for FTP's data.
func (k *checker) passive(f *Forward, out *proxy.Forward) {
	if !f.Passive.Given() {
		return
	}
	l, err := proxy.ParseListen(":" + f.Passive.S)
	switch {
	case f.Protocol != "ftp":
		k.mistake(f.Passive.Pos, "passive ports are for FTP; write protocol = \"ftp\" with them, or take them away")
	case err != nil || l.Port == 0:
		k.mistake(f.Passive.Pos, "passive %q is no range of ports; write one such as \"50000-50099\"", f.Passive.S)
	default:
		out.Passive = ftp.Ports{First: l.Port, Last: l.PortEnd}
	}
}

// ftpRequire reads what FTP clients must do about TLS.
func (k *checker) ftpRequire(f *Forward) (all ftp.Requirements) {
	for _, t := range f.FTPRequire {
		switch t.S {
		case "login":
			all.Login = true
		case "data":
			all.Data = true
		case "reuse":
			all.Reuse = true
		default:
			k.mistake(t.Pos, "ftp_require: unknown value %s; write \"login\", \"data\" or \"reuse\"", quote(t.S))
		}
	}
	return all
}

func forwardTLS(word string) proxy.ForwardTLS {
	switch word {
	case "implicit":
		return proxy.TLSImplicit
	case "starttls":
		return proxy.TLSStart
	}
	return proxy.TLSByPort
}
