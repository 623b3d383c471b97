import sys; sys.path.insert(0,"/root/bench/imagegen")
from evaluate import *
import re
src=open("/root/bench/imagegen/train_vae2.py").read(); 
import diffusers
ns={}; a=src.index("BASE = dict"); b=src.index("STEPS, BATCH")
NAME="f4"; exec(src[a:b].replace("NAME]",'"f4"]'),ns) if False else None
from diffusers import AutoencoderDC
CFG=dict(in_channels=3,latent_channels=4, encoder_block_out_channels=(24, 64, 128), decoder_block_out_channels=(24, 64, 128), encoder_layers_per_block=(0, 1, 2), decoder_layers_per_block=(0, 1, 2), encoder_qkv_multiscales=((),) * 3, decoder_qkv_multiscales=((),) * 3, upsample_block_type="interpolate", downsample_block_type="pixel_unshuffle", decoder_norm_types="rms_norm", decoder_act_fns="silu", scaling_factor=1.0)
v=AutoencoderDC(**CFG); v.load_state_dict(load_file("/root/bench/imagegen/vae-f4.safetensors")); v.eval()
print("params",sum(p.numel() for p in v.parameters())/1e6)
j=judge(); which = torch.tensor([j.concepts.index(r["concept"]) if r["concept"] in j.concepts else -1 for r in rows]); style = torch.tensor([j.styles.index(r["vendor"]) for r in rows])
a = np.sort(rng.choice(trained, 200, replace=False))
for noise in (0,.1,.3):
    with torch.no_grad(): 
        x = torch.from_numpy(pictures[a]).permute(0, 3, 1, 2).float() / 127.5 - 1; z=v.encode(x).latent; y = v.decode(z+noise*torch.randn_like(z)).sample
    p=((y.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    r=j.rates(j.features(torch.from_numpy(p)),which[a],style[a]); print(noise,r, -10*np.log10((((p/255.-pictures[a]/255.)**2).mean())),flush=True)
